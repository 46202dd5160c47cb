// For tests of evaluation: small graphs, and data sets in memory.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"

namespace narrow::evaluation::testing {

class MemoryData final : public datasets::Dataset {
 public:
  explicit MemoryData(std::vector<datasets::Sample> samples) : samples_(std::move(samples)) {}
  std::size_t size() const override { return samples_.size(); }
  Result<datasets::Sample> read(std::size_t index) const override {
    if (index == broken_ || index == also_broken_) return corrupt("sample " + std::to_string(index) + " is broken");
    return samples_[index];
  }
  bool labelled() const override { return !samples_.empty() && samples_[0].label.has_value(); }
  std::string describe() const override { return "memory"; }
  std::size_t broken_ = ~std::size_t{0}, also_broken_ = ~std::size_t{0};

 private:
  std::vector<datasets::Sample> samples_;
};

// Samples whose input "x" [1, width] holds numbers that depend on the index.
inline std::vector<datasets::Sample> make_samples(std::size_t count, std::int64_t width) {
  std::vector<datasets::Sample> samples;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<float> values;
    for (std::int64_t j = 0; j < width; ++j) values.push_back(static_cast<float>(static_cast<int>((i * 7 + static_cast<std::size_t>(j) * 5) % 11) - 5) / 4);
    datasets::Sample sample;
    sample.inputs.emplace_back("x", Tensor::from<float>({1, width}, std::span<const float>(values)));
    sample.name = "sample " + std::to_string(i);
    samples.push_back(std::move(sample));
  }
  return samples;
}

inline graph::ValueId append(graph::Graph& graph, const std::string& op, const std::string& output,
                             std::vector<graph::ValueId> inputs) {
  graph::Node node;
  node.name = output + "_node";
  node.op_type = op;
  node.inputs = std::move(inputs);
  const graph::ValueId id = graph.add_value(output, {});
  node.outputs = {id};
  graph.nodes.push_back(std::move(node));
  return id;
}

// x[1,width] · w -> h, h · v -> y; weights are multiples of 1/8, moved by `noise`.
inline graph::Graph make_net(std::int64_t width, float noise = 0) {
  graph::Graph graph;
  const graph::ValueId x = graph.add_value("x", graph::Type::tensor(DType::kF32, {1, width}));
  graph.inputs = {x};
  graph::ValueId at = x;
  for (const char* name : {"h", "y"}) {
    std::vector<float> weights;
    for (std::int64_t i = 0; i < width * width; ++i) {
      weights.push_back(static_cast<float>((i * 13 + name[0]) % 17 - 8) / 8 + ((i % 3) - 1) * noise);
    }
    const graph::ValueId w = graph.add_constant(std::string("w_") + name, Tensor::from<float>({width, width}, std::span<const float>(weights)));
    at = append(graph, "MatMul", name, {at, w});
  }
  graph.outputs = {at};
  return graph;
}

}  // namespace narrow::evaluation::testing
