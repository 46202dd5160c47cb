#include "quantizers/mixed_precision/sources.h"

#include <algorithm>
#include <unordered_map>

#include "encodings/affine.h"

namespace narrow::quantizers::mixed_precision {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// A constant, or what a DequantizeLinear of constants gives; undefined when it is neither.
Tensor constant_value(const Graph& graph, const Uses& uses, ValueId id) {
  if (id == kNoValue) return {};
  if (const Tensor* constant = graph.constant(id)) return *constant;
  const int maker = uses.producer[id];
  if (maker < 0) return {};
  const Node& node = graph.nodes[maker];
  const Tensor* codes = node.is("DequantizeLinear") ? graph.constant(node.input(0)) : nullptr;
  const Tensor* scale = codes != nullptr ? graph.constant(node.input(1)) : nullptr;
  if (node.is("Cast") && graph.constant(node.input(0)) != nullptr && is_float(graph.constant(node.input(0))->dtype())) {
    const Tensor& stored = *graph.constant(node.input(0));
    const std::vector<float> values = stored.to_float();
    return Tensor::from<float>(stored.shape(), std::span<const float>(values));
  }
  if (codes == nullptr || scale == nullptr || node.get_int("block_size", 0) != 0) return {};
  const Tensor* zero = node.input(2) == kNoValue ? nullptr : graph.constant(node.input(2));
  std::vector<float> values = codes->to_float();
  const std::vector<float> scales = scale->to_float();
  const std::vector<float> zeros = zero != nullptr ? zero->to_float() : std::vector<float>(scales.size(), 0.0f);
  std::int64_t inner = codes->size(), slices = 1;
  if (scales.size() > 1) {
    std::int64_t axis = node.get_int("axis", 1);
    if (axis < 0) axis += codes->rank();
    if (axis >= codes->rank() || codes->shape()[axis] != static_cast<std::int64_t>(scales.size())) return {};
    slices = codes->shape()[axis];
    inner = 1;
    for (std::int64_t i = axis + 1; i < codes->rank(); ++i) inner *= codes->shape()[i];
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto slice = static_cast<std::size_t>(static_cast<std::int64_t>(i) / std::max<std::int64_t>(inner, 1) % slices);
    values[i] = (values[i] - zeros[slice]) * scales[slice];
  }
  return Tensor::from<float>(codes->shape(), std::span<const float>(values));
}

bool equal(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  const auto x = a.byte_span(), y = b.byte_span();
  return std::equal(x.begin(), x.end(), y.begin());
}

bool reads_from_outside(const Node& node) {
  for (const graph::Attribute& attribute : node.attributes) {
    if (std::holds_alternative<graph::GraphPtr>(attribute.value) || std::holds_alternative<std::vector<graph::GraphPtr>>(attribute.value)) return true;
  }
  return false;
}

// Keeps the nodes marked; what they read of others becomes an input.
Remainder cut(const Graph& reference, const std::vector<bool>& kept) {
  Remainder rest;
  rest.graph = reference.clone();
  Graph& graph = rest.graph;
  std::vector<bool> made(graph.values.size(), false), asked(graph.values.size(), false);
  std::vector<Node> nodes;
  bool bodies = false;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!kept[n]) continue;
    bodies = bodies || reads_from_outside(graph.nodes[n]);
    nodes.push_back(graph.nodes[n]);
    for (ValueId id : nodes.back().outputs) {
      if (id != kNoValue) made[id] = true;
    }
  }
  graph.inputs.clear();
  const auto ask = [&](ValueId id) {
    if (id == kNoValue || made[id] || asked[id] || graph.constant(id) != nullptr) return;
    asked[id] = true;
    graph.inputs.push_back(id);
    rest.inputs.push_back(graph.value(id).name);
  };
  for (const Node& node : nodes) {
    for (ValueId id : node.inputs) ask(id);
  }
  // Bodies of If and Loop read by name: whatever the whole graph gives them.
  if (bodies) {
    const Uses uses(reference);
    for (std::size_t v = 0; v < graph.values.size(); ++v) {
      for (const Uses::Use& use : uses.readers[v]) {
        if (use.input < 0 && use.node >= 0 && kept[use.node]) ask(static_cast<ValueId>(v));
      }
    }
  }
  graph.nodes = std::move(nodes);
  graph.outputs.clear();
  for (std::size_t i = 0; i < reference.outputs.size(); ++i) {
    if (!made[reference.outputs[i]]) continue;
    graph.outputs.push_back(reference.outputs[i]);
    rest.outputs.push_back(i);
  }
  graph::remove_dead(graph);
  return rest;
}

// Marks what depends on the values marked in `tainted`.
std::vector<bool> dependents(const Graph& graph, std::vector<bool> tainted) {
  const Uses uses(graph);
  std::vector<bool> kept(graph.nodes.size(), false), by_body(graph.nodes.size(), false);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    bool depends = by_body[n];
    for (ValueId id : graph.nodes[n].inputs) depends = depends || (id != kNoValue && tainted[id]);
    if (!depends) {
      for (std::size_t v = 0; v < graph.values.size() && reads_from_outside(graph.nodes[n]) && !depends; ++v) {
        if (!tainted[v]) continue;
        for (const Uses::Use& use : uses.readers[v]) depends = depends || (use.input < 0 && use.node == static_cast<int>(n));
      }
    }
    if (!depends) continue;
    kept[n] = true;
    for (ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue) tainted[id] = true;
    }
  }
  return kept;
}

}  // namespace

Tensor RoundedActivation::round(const Tensor& values) const {
  Tensor out = values.clone();
  const IntegerRange codes = integer_range(storage_type);
  const encodings::AffineGrid grid{static_cast<std::int32_t>(codes.min), static_cast<std::int32_t>(codes.max), false};
  const encodings::AffineParams params{scale, zero_point};
  for (float& x : out.mutable_data<float>()) x = encodings::dequantize_one(encodings::quantize_one(x, params, grid), params);
  return out;
}

std::vector<RoundedWeights> rounded_weights(const Graph& reference, const Graph& quantized) {
  const Uses uses(quantized);
  std::unordered_map<std::string, const Node*> by_name;
  for (const Node& node : quantized.nodes) {
    if (!node.name.empty()) by_name.emplace(node.name, &node);
  }
  std::vector<RoundedWeights> all;
  for (std::size_t n = 0; n < reference.nodes.size(); ++n) {
    const Node& node = reference.nodes[n];
    const auto twin = by_name.find(node.name);
    if (twin == by_name.end() || twin->second->op_type != node.op_type) continue;
    RoundedWeights weights;
    weights.node = static_cast<int>(n);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Tensor* before = node.inputs[i] == kNoValue ? nullptr : reference.constant(node.inputs[i]);
      if (before == nullptr || before->dtype() != DType::kF32) continue;
      const Tensor after = constant_value(quantized, uses, twin->second->input(i));
      if (after.dtype() != DType::kF32 || equal(*before, after)) continue;
      weights.inputs.emplace(static_cast<int>(i), after);
    }
    if (!weights.inputs.empty()) all.push_back(std::move(weights));
  }
  return all;
}

std::vector<RoundedActivation> rounded_activations(const Graph& reference, const Graph& quantized) {
  const Uses uses(quantized);
  std::vector<RoundedActivation> all;
  std::vector<bool> taken(reference.values.size(), false);
  for (const Node& node : quantized.nodes) {
    if (!node.is("QuantizeLinear") || quantized.constant(node.input(0)) != nullptr) continue;
    const Tensor *scale = quantized.constant(node.input(1)), *zero = quantized.constant(node.input(2));
    if (scale == nullptr || zero == nullptr || scale->size() != 1 || zero->size() != 1) continue;
    // The dequantized value has the float one's name where every reader takes it; else the quantized one has.
    ValueId id = kNoValue;
    for (const Uses::Use& use : uses.readers[node.output(0)]) {
      if (use.input == 0 && quantized.nodes[use.node].is("DequantizeLinear") && id == kNoValue) {
        id = reference.find_value(quantized.value(quantized.nodes[use.node].output(0)).name);
      }
    }
    if (id == kNoValue) id = reference.find_value(quantized.value(node.input(0)).name);
    if (id == kNoValue || reference.constant(id) != nullptr || taken[id]) continue;
    taken[id] = true;
    all.push_back({id, scale->to_float()[0], static_cast<std::int32_t>(zero->at_as_double(0)), zero->dtype()});
  }
  const Uses order(reference);
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return order.producer[a.value] < order.producer[b.value]; });
  return all;
}

Remainder behind_value(const Graph& reference, ValueId from) {
  std::vector<bool> tainted(reference.values.size(), false);
  tainted[from] = true;
  Remainder rest = cut(reference, dependents(reference, tainted));
  return rest;
}

Remainder from_node(const Graph& reference, const RoundedWeights& weights) {
  std::vector<bool> tainted(reference.values.size(), false);
  for (ValueId id : reference.nodes[weights.node].outputs) {
    if (id != kNoValue) tainted[id] = true;
  }
  std::vector<bool> kept = dependents(reference, tainted);
  kept[weights.node] = true;
  Graph changed = reference.clone();
  for (const auto& [input, tensor] : weights.inputs) {
    const std::string name = changed.value(changed.nodes[weights.node].inputs[input]).name;
    changed.nodes[weights.node].inputs[input] = changed.add_constant(name + "_rounded", tensor);
  }
  return cut(changed, kept);
}

}  // namespace narrow::quantizers::mixed_precision
