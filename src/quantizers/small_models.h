// For tests of quantizers: small float models, data for them, and running both sides.
#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "quantizers/quantizer.h"
#include "runtime/session.h"

namespace narrow::quantizers::testing {

using graph::Graph;
using graph::Model;
using graph::Node;
using graph::ValueId;
using Attributes = std::vector<std::pair<std::string, graph::Attribute::Value>>;

inline Tensor random_tensor(Shape shape, unsigned seed, float low = -1, float high = 1) {
  Tensor tensor = *Tensor::create(DType::kF32, std::move(shape));
  std::mt19937 engine(seed);
  for (float& x : tensor.mutable_data<float>()) x = low + (high - low) * static_cast<float>(engine() >> 8) / 16777216.0f;
  return tensor;
}

class ModelBuilder {
 public:
  ModelBuilder() { model_.opsets[""] = 21; }
  ValueId input(const std::string& name, const Shape& shape) {
    const ValueId id = graph().add_value(name, graph::Type::tensor(DType::kF32, std::vector<graph::Dim>(shape.begin(), shape.end())));
    graph().inputs.push_back(id);
    return id;
  }
  ValueId constant(const std::string& name, Tensor tensor) { return graph().add_constant(name, std::move(tensor)); }
  ValueId weight(const std::string& name, Shape shape, unsigned seed = 1) { return constant(name, random_tensor(std::move(shape), seed)); }
  ValueId ints(const std::string& name, std::vector<std::int64_t> values) {
    return constant(name, Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, std::span<const std::int64_t>(values)));
  }
  // A node with one output named `name`.
  ValueId node(const std::string& op, const std::string& name, std::vector<ValueId> inputs, const Attributes& attributes = {}) {
    Node n;
    n.op_type = op;
    n.name = name;
    n.inputs = std::move(inputs);
    for (const auto& [key, value] : attributes) n.set(key, value);
    n.outputs = {graph().add_value(name, {})};
    graph().nodes.push_back(std::move(n));
    return graph().nodes.back().outputs[0];
  }
  Model finish(std::vector<ValueId> outputs) {
    graph().outputs = std::move(outputs);
    return std::move(model_);
  }
  Graph& graph() { return model_.graph; }

 private:
  Model model_;
};

// `count` samples of uniform numbers in [low, high] for every input of the model.
class RandomData final : public datasets::Dataset {
 public:
  RandomData(const Graph& graph, std::size_t count, float low = -1, float high = 1) : count_(count), low_(low), high_(high) {
    for (ValueId id : graph.inputs) inputs_.emplace_back(graph.value(id).name, *graph.value(id).type.static_shape());
  }
  std::size_t size() const override { return count_; }
  bool labelled() const override { return false; }
  std::string describe() const override { return "random"; }
  Result<datasets::Sample> read(std::size_t index) const override {
    datasets::Sample sample;
    sample.name = std::to_string(index);
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      sample.inputs.emplace_back(inputs_[i].first, random_tensor(inputs_[i].second, static_cast<unsigned>(1000 + index * 17 + i), low_, high_));
    }
    return sample;
  }

 private:
  std::vector<std::pair<std::string, Shape>> inputs_;
  std::size_t count_;
  float low_, high_;
};

inline Result<std::vector<Tensor>> run_model(const Graph& graph, const datasets::Sample& sample) {
  NARROW_TRY(std::unique_ptr<runtime::Session> session, runtime::Session::create(graph, {}));
  NARROW_TRY(std::vector<Tensor> outputs, session->run(sample.inputs));
  for (Tensor& tensor : outputs) tensor = tensor.clone();
  return outputs;
}

// Root mean square of the difference over that of the reference.
inline double relative_error(const Tensor& reference, const Tensor& other) {
  const std::vector<float> a = reference.to_float(), b = other.to_float();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    size += static_cast<double>(a[i]) * a[i];
  }
  return a.size() != b.size() ? 1e9 : std::sqrt(difference / (size > 0 ? size : 1));
}

inline Result<Outcome> quantize(const Model& model, const Recipe& recipe, const datasets::Dataset* data = nullptr, int threads = 1) {
  NARROW_TRY(const Quantizer* method, find_quantizer(recipe.method));
  Request request;
  request.model = &model;
  request.recipe = recipe;
  request.data = data;
  request.threads = threads;
  return method->run(request);
}

inline int count_ops(const Graph& graph, std::string_view op) {
  int count = 0;
  for (const Node& node : graph.nodes) count += node.op_type == op;
  return count;
}

inline const LayerDecision* find_layer(const Outcome& outcome, std::string_view node) {
  for (const LayerDecision& layer : outcome.layers) {
    if (layer.node == node) return &layer;
  }
  return nullptr;
}

}  // namespace narrow::quantizers::testing
