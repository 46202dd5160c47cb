// For tests of operators: build one node and run it, and random tensors to run it on.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "operators/infer.h"
#include "operators/operator.h"

namespace narrow::operators::testing {

using Attributes = std::vector<std::pair<std::string, graph::Attribute::Value>>;
using Ints = std::vector<std::int64_t>;

inline graph::Node make_node(std::string op_type, int inputs, int outputs, const Attributes& attributes = {}) {
  graph::Node node;
  node.name = "n";
  node.op_type = std::move(op_type);
  for (int i = 0; i < inputs; ++i) node.inputs.push_back(i);
  for (int i = 0; i < outputs; ++i) node.outputs.push_back(inputs + i);
  for (const auto& [name, value] : attributes) node.set(name, value);
  return node;
}

// An undefined tensor is an omitted input.
inline Result<std::vector<Tensor>> run_node(const graph::Node& node, const std::vector<Tensor>& inputs) {
  graph::Node used = node;
  std::vector<const Tensor*> pointers;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    pointers.push_back(inputs[i].defined() ? &inputs[i] : nullptr);
    if (!inputs[i].defined()) used.inputs[i] = graph::kNoValue;
  }
  return evaluate_node(used, pointers);
}

// The types that the node's rule gives for inputs of the given types. `constants` may be shorter than `types`.
inline Result<std::vector<graph::Type>> infer_node(graph::Node node, const std::vector<graph::Type>& types,
                                                   const std::vector<Tensor>& constants = {}) {
  graph::Graph graph;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (i < constants.size() && constants[i].defined()) {
      node.inputs[i] = graph.add_constant("in", constants[i]);
    } else {
      node.inputs[i] = graph.add_value("in", types[i]);
      graph.inputs.push_back(node.inputs[i]);
    }
  }
  for (graph::ValueId& id : node.outputs) id = graph.add_value("out", {});
  graph.nodes.push_back(node);
  Result<Inference> inference = infer_types(graph, {.fold_small = false});
  if (!inference.ok()) return std::move(inference).error();
  std::vector<graph::Type> found;
  for (graph::ValueId id : graph.nodes[0].outputs) found.push_back(graph.value(id).type);
  return found;
}

inline Tensor random_tensor(Shape shape, std::mt19937& random, float low = -1.0f, float high = 1.0f) {
  std::uniform_real_distribution<float> draw(low, high);
  Tensor tensor = *Tensor::create(DType::kF32, std::move(shape));
  for (float& v : tensor.mutable_data<float>()) v = draw(random);
  return tensor;
}

// [N, C, spatial…] -> [N, spatial…, C].
inline Tensor channels_last(const Tensor& from) {
  const std::int64_t batch = from.shape()[0], channels = from.shape()[1], inner = from.size() / (batch * channels);
  Shape shape = from.shape();
  shape.erase(shape.begin() + 1);
  shape.push_back(channels);
  Tensor to = *Tensor::create(DType::kF32, shape);
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t k = 0; k < channels; ++k)
      for (std::int64_t i = 0; i < inner; ++i) to.mutable_data<float>()[(n * inner + i) * channels + k] = from.data<float>()[(n * channels + k) * inner + i];
  return to;
}

}  // namespace narrow::operators::testing
