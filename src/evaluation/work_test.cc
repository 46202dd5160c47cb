#include "evaluation/work.h"

#include <gtest/gtest.h>

#include "base/cpu.h"
#include "evaluation/energy_estimate.h"
#include "evaluation/test_models.h"
#include "operators/infer.h"

namespace narrow::evaluation {
namespace {

using testing::append;
using testing::make_net;

TEST(Work, CountsAFloatModel) {
  graph::Graph net = make_net(6);
  ASSERT_TRUE(operators::infer_types(net).ok());
  const Work work = count_work(net);
  EXPECT_EQ(work.f32, 72);
  EXPECT_EQ(work.int8, 0);
  EXPECT_EQ(work.weight_bytes, 288);
  // x is read; the value between is written and read, the output written: 6 floats each.
  EXPECT_EQ(work.activation_bytes, 6 * 4 * 4);
}

// A convolution of `dtype` codes between QuantizeLinear and DequantizeLinear.
graph::Graph quantized_convolution(DType dtype) {
  graph::Graph graph;
  const graph::ValueId x = graph.add_value("x", graph::Type::tensor(DType::kF32, {1, 2, 5, 5}));
  graph.inputs = {x};
  const auto s = graph.add_constant("s", Tensor::scalar<float>(0.1f));
  const auto z = graph.add_constant("z", *Tensor::create(dtype, {}));
  const auto w = graph.add_constant("w", *Tensor::create(dtype, {3, 2, 3, 3}));
  const auto q = append(graph, "QuantizeLinear", "q", {x, s, z});
  const auto d = append(graph, "DequantizeLinear", "d", {q, s, z});
  const auto wf = append(graph, "DequantizeLinear", "wf", {w, s, z});
  const auto c = append(graph, "Conv", "c", {d, wf});
  const auto yq = append(graph, "QuantizeLinear", "yq", {c, s, z});
  graph.outputs = {append(graph, "DequantizeLinear", "y", {yq, s, z})};
  EXPECT_TRUE(operators::infer_types(graph).ok());
  return graph;
}

TEST(Work, CountsQdqFormAsIntegers) {
  const Work work = count_work(quantized_convolution(DType::kU8));
  EXPECT_EQ(work.int8, 27 * 18);
  EXPECT_EQ(work.f32, 0);
  // x read as f32; its codes written and read; the convolution's float output never written; its codes written, read by the last node (an output).
  EXPECT_EQ(work.activation_bytes, 50 * 4 + 50 * 2 + 27 * 1 + 27 * 4);
}

TEST(Work, SixteenBitCodesAreNotInt8) {
  const Work work = count_work(quantized_convolution(DType::kS16));
  EXPECT_EQ(work.int8, 0);
  EXPECT_EQ(work.f32, 27 * 18);
}

TEST(Work, CountsRecurrentLayers) {
  graph::Graph graph;
  const graph::ValueId x = graph.add_value("x", graph::Type::tensor(DType::kF32, {7, 2, 5}));
  graph.inputs = {x};
  const auto w = graph.add_constant("w", *Tensor::create(DType::kF32, {1, 12, 5}));
  const auto r = graph.add_constant("r", *Tensor::create(DType::kF32, {1, 12, 3}));
  const auto y = append(graph, "LSTM", "y", {x, w, r});
  graph.nodes.back().set("hidden_size", std::int64_t{3});
  graph.outputs = {y};
  ASSERT_TRUE(operators::infer_types(graph).ok());
  EXPECT_EQ(count_work(graph).f32, 7 * 2 * (12 * 5 + 12 * 3));
}

TEST(EnergyEstimate, FollowsTheTable) {
  const EnergyMachine vnni{base::Isa::kAvx512Vnni, 1000}, scalar{base::Isa::kScalar, 0};
  EXPECT_NEAR(estimate_millijoules({1e9, 0, 0, 0, 0}, vnni), 4.6 + 70.0 / 16, 1e-9);
  EXPECT_NEAR(estimate_millijoules({0, 0, 1e9, 0, 0}, vnni), 0.3 + 70.0 / 64, 1e-9);
  EXPECT_NEAR(estimate_millijoules({0, 1e9, 0, 0, 0}, scalar), 1.5 + 70, 1e-9);
  // 1000 of 3000 bytes come from the cache.
  EXPECT_NEAR(estimate_millijoules({0, 0, 0, 1000, 2000}, vnni), (1000 * 12.5 + 2000 * 250) * 1e-9, 1e-12);
  EXPECT_NEAR(estimate_millijoules({0, 0, 0, 1000, 2000}, scalar), 3000 * 250 * 1e-9, 1e-12);
}

}  // namespace
}  // namespace narrow::evaluation
