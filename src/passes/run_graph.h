// For tests of passes: runs a graph node by node, without the runtime, and builds small ones.
#pragma once

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "operators/infer.h"

namespace narrow::passes::testing {

using graph::Graph;
using graph::Node;
using graph::ValueId;
using Attributes = std::vector<std::pair<std::string, graph::Attribute::Value>>;

inline Tensor random_tensor(Shape shape, unsigned seed, float low = -1, float high = 1) {
  Tensor tensor = *Tensor::create(DType::kF32, std::move(shape));
  std::mt19937 engine(seed);
  for (float& x : tensor.mutable_data<float>()) x = low + (high - low) * static_cast<float>(engine() >> 8) / 16777216.0f;
  return tensor;
}

inline ValueId add_input(Graph& graph, const std::string& name, const Shape& shape) {
  const ValueId id = graph.add_value(name, graph::Type::tensor(DType::kF32, std::vector<graph::Dim>(shape.begin(), shape.end())));
  graph.inputs.push_back(id);
  return id;
}

// Adds a node and returns its only output, named after it.
inline ValueId add_node(Graph& graph, const std::string& op, const std::string& name, std::vector<ValueId> inputs,
                        const Attributes& attributes = {}) {
  Node node;
  node.op_type = op;
  node.name = name;
  node.inputs = std::move(inputs);
  for (const auto& [key, value] : attributes) node.set(key, value);
  node.outputs = {graph.add_value(name + "_out", {})};
  graph.nodes.push_back(std::move(node));
  return graph.nodes.back().outputs[0];
}

inline Result<std::vector<Tensor>> run_graph(const Graph& graph, const std::vector<Tensor>& inputs) {
  std::map<ValueId, Tensor> values;
  for (std::size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (graph.values[v].constant) values[static_cast<ValueId>(v)] = *graph.values[v].constant;
  }
  for (const Node& node : graph.nodes) {
    std::vector<const Tensor*> arguments;
    for (ValueId id : node.inputs) arguments.push_back(id == graph::kNoValue ? nullptr : &values[id]);
    NARROW_TRY(std::vector<Tensor> outputs, operators::evaluate_node(node, arguments));
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != graph::kNoValue) values[node.outputs[i]] = outputs[i].clone();
    }
  }
  std::vector<Tensor> outputs;
  for (ValueId id : graph.outputs) outputs.push_back(values[id]);
  return outputs;
}

}  // namespace narrow::passes::testing
