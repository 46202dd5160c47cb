#include "evaluation/distortion.h"

#include <gtest/gtest.h>

#include <cmath>

#include "evaluation/test_models.h"

namespace narrow::evaluation {
namespace {

using testing::append;
using testing::make_net;
using testing::make_samples;
using testing::MemoryData;

constexpr float kStep = 0.25f;

// The net with h quantized in steps of `kStep` to s8.
graph::Graph quantized_net(std::int64_t width) {
  graph::Graph graph = make_net(width);
  const graph::ValueId scale = graph.add_constant("scale", Tensor::scalar<float>(kStep));
  const graph::ValueId zero = graph.add_constant("zero", Tensor::scalar<std::int8_t>(3));
  const graph::ValueId h = graph.find_value("h"), y_weight = graph.find_value("w_y");
  graph.nodes.pop_back();
  const graph::ValueId q = append(graph, "QuantizeLinear", "h_q", {h, scale, zero});
  const graph::ValueId dq = append(graph, "DequantizeLinear", "h_dq", {q, scale, zero});
  graph::Node last;
  last.name = "y_node";
  last.op_type = "MatMul";
  last.inputs = {dq, y_weight};
  last.outputs = {graph.outputs[0]};
  graph.nodes.push_back(last);
  return graph;
}

TEST(MatchByName, TakesWhatComesOutOfTheQuantization) {
  const graph::Graph reference = make_net(4), quantized = quantized_net(4);
  const Correspondence pairs = match_by_name(reference, quantized);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0], (std::pair<std::string, std::string>("h", "h_dq")));
  EXPECT_EQ(pairs[1], (std::pair<std::string, std::string>("y", "y")));
}

TEST(RepresentableRange, IsWhatTheCodesReach) {
  const graph::Graph graph = quantized_net(4);
  const auto range = representable_range(graph, graph.find_value("h_dq"));
  ASSERT_TRUE(range);
  EXPECT_DOUBLE_EQ(range->first, (-128 - 3) * 0.25);
  EXPECT_DOUBLE_EQ(range->second, (127 - 3) * 0.25);
  EXPECT_FALSE(representable_range(graph, graph.find_value("h")));
  EXPECT_FALSE(representable_range(graph, graph.find_value("x")));
}

TEST(Distortion, MeasuresEachLayerAndTheOutputs) {
  const graph::Graph reference = make_net(5), quantized = quantized_net(5);
  const MemoryData data(make_samples(9, 5));
  DistortionReport first;
  for (const int threads : {1, 3}) {
    DistortionRequest request;
    request.reference = &reference;
    request.quantized = &quantized;
    request.correspondence = match_by_name(reference, quantized);
    request.correspondence.emplace_back("no such value", "y");
    request.histograms = 1;
    request.sweep.threads = threads;
    const auto report = measure_distortion(request, data);
    ASSERT_TRUE(report.ok()) << report.error().to_string();
    ASSERT_EQ(report->layers.size(), 2u);
    EXPECT_EQ(report->layers[0].layer, "h_node");
    EXPECT_EQ(report->layers[0].op_type, "MatMul");
    EXPECT_GT(report->layers[0].max_error, 0);
    EXPECT_LE(report->layers[0].max_error, kStep / 2);
    EXPECT_NEAR(*report->outputs.sqnr_db, report->layers[1].sqnr_db, 1e-9);  // y is the only output
    ASSERT_EQ(report->histograms.size(), 1u);
    const ValueHistogram& histogram = report->histograms[0];
    std::uint64_t counted = 0;
    for (const std::uint64_t count : histogram.counts) counted += count;
    EXPECT_EQ(counted, 9u * 5u);
    EXPECT_GT(histogram.counts.front(), 0u);  // both ends were seen
    EXPECT_GT(histogram.counts.back(), 0u);
    if (threads == 1) first = *report;
    EXPECT_EQ(report->layers[0].sqnr_db, first.layers[0].sqnr_db);
    EXPECT_EQ(histogram.counts, first.histograms[0].counts);
  }
}

TEST(Distortion, OfAModelWithItselfIsNone) {
  const graph::Graph net = make_net(4);
  DistortionRequest request;
  request.reference = &net;
  request.quantized = &net;
  request.correspondence = match_by_name(net, net);
  const auto report = measure_distortion(request, MemoryData(make_samples(3, 4)));
  ASSERT_TRUE(report.ok());
  for (const LayerDistortion& layer : report->layers) {
    EXPECT_EQ(layer.sqnr_db, 200);
    EXPECT_EQ(layer.max_error, 0);
  }
  EXPECT_EQ(report->outputs.agreement, 100.0);
}

}  // namespace
}  // namespace narrow::evaluation
