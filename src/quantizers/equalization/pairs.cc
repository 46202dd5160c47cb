#include "quantizers/equalization/pairs.h"

#include <algorithm>
#include <cmath>

#include "passes/edit.h"

namespace narrow::quantizers::equalization {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

const Tensor* fixed(const Graph& graph, ValueId id) {
  if (id == kNoValue || !passes::is_fixed_constant(graph, id)) return nullptr;
  const Tensor* tensor = graph.constant(id);
  return tensor->dtype() == DType::kF32 ? tensor : nullptr;
}

// Keeps channels apart (axis 1) and commutes with scaling them by positive numbers.
bool is_homogeneous(const Graph& graph, const Node& node, std::int64_t channels) {
  if (node.is("Relu") || node.is("Identity") || node.is("MaxPool") || node.is("AveragePool") || node.is("GlobalAveragePool") || node.is("GlobalMaxPool") || node.is("LeakyRelu")) {
    return node.outputs.size() == 1;
  }
  if (node.is("PRelu")) return graph.constant(node.input(1)) != nullptr;
  if (node.is("Pad")) {
    const Tensor* fill = node.input(2) == kNoValue ? nullptr : graph.constant(node.input(2));
    const bool zero = node.input(2) == kNoValue || (fill != nullptr && fill->size() == 1 && fill->at_as_double(0) == 0);
    return node.get_string("mode", "constant") != "constant" || zero;
  }
  // One number a channel: the order of channels stays.
  if (node.is("Flatten") || node.is("Reshape") || node.is("Squeeze")) {
    const graph::Type &in = graph.value(node.input(0)).type, &out = graph.value(node.output(0)).type;
    if (!in.ranked || !out.ranked || in.rank() < 2 || out.rank() != 2 || !out.dims[1].known() || out.dims[1].size != channels) return false;
    for (int i = 2; i < in.rank(); ++i) {
      if (!in.dims[i].known() || in.dims[i].size != 1) return false;
    }
    return in.dims[1].known() && in.dims[1].size == channels;
  }
  return false;
}

}  // namespace

std::optional<Layout> layout_of(const Graph& graph, const Node& node) {
  const Tensor* weight = fixed(graph, node.input(1));
  if (weight == nullptr || !(node.is("Conv") || node.is("Gemm")) || (node.input(2) != kNoValue && fixed(graph, node.input(2)) == nullptr)) return std::nullopt;
  Layout layout;
  if (node.is("Gemm")) {
    if (node.get_int("transA", 0) != 0 || weight->rank() != 2) return std::nullopt;
    layout.outputs_first = node.get_int("transB", 0) != 0;
    layout.outputs = weight->shape()[layout.outputs_first ? 0 : 1];
    layout.inputs = weight->shape()[layout.outputs_first ? 1 : 0];
  } else {
    if (weight->rank() < 3) return std::nullopt;
    layout.groups = node.get_int("group", 1);
    layout.outputs = weight->shape()[0];
    layout.inputs = weight->shape()[1] * layout.groups;
    for (int i = 2; i < weight->rank(); ++i) layout.taps *= weight->shape()[i];
  }
  if (layout.groups < 1 || layout.outputs < 1 || layout.inputs < 1 || layout.outputs % layout.groups != 0) return std::nullopt;
  const Tensor* bias = fixed(graph, node.input(2));
  if (bias != nullptr && bias->size() != layout.outputs) return std::nullopt;
  return layout;
}

std::vector<Pair> find_pairs(const Graph& graph) {
  const Uses uses(graph);
  std::vector<Pair> pairs;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const std::optional<Layout> first = layout_of(graph, graph.nodes[n]);
    if (!first) continue;
    Pair pair;
    pair.first = static_cast<int>(n);
    pair.channels = first->outputs;
    pair.made = graph.nodes[n].output(0);
    ValueId at = pair.made;
    while (at != kNoValue && !uses.is_output[at] && uses.readers[at].size() == 1 && uses.readers[at][0].input == 0) {
      const int reader = uses.readers[at][0].node;
      const Node& node = graph.nodes[reader];
      if (const std::optional<Layout> second = layout_of(graph, node)) {
        if (second->inputs == pair.channels) {
          pair.second = reader;
          pair.read = at;
        }
        break;
      }
      if (!is_homogeneous(graph, node, pair.channels)) break;
      at = node.output(0);
    }
    if (pair.second >= 0) pairs.push_back(pair);
  }
  return pairs;
}

std::vector<float> output_extents(const Layout& layout, const Tensor& weight) {
  std::vector<float> extents(static_cast<std::size_t>(layout.outputs), 0.0f);
  const std::span<const float> data = weight.data<float>();
  layout.for_each([&](std::size_t at, std::int64_t o, std::int64_t) { extents[o] = std::max(extents[o], std::abs(data[at])); });
  return extents;
}

std::vector<float> input_extents(const Layout& layout, const Tensor& weight) {
  std::vector<float> extents(static_cast<std::size_t>(layout.inputs), 0.0f);
  const std::span<const float> data = weight.data<float>();
  layout.for_each([&](std::size_t at, std::int64_t, std::int64_t i) { extents[i] = std::max(extents[i], std::abs(data[at])); });
  return extents;
}

std::span<float> own_constant(Graph& graph, int node, int input) {
  const ValueId id = graph.nodes[node].inputs[input];
  const Uses uses(graph);
  if (uses.readers[id].size() == 1 && !uses.is_output[id]) {
    graph.value(id).constant = graph.constant(id)->clone();
    return graph.value(id).constant->mutable_data<float>();
  }
  const std::string name = graph.value(id).name;
  const ValueId copy = graph.add_constant(name + "_own", graph.constant(id)->clone());
  graph.nodes[node].inputs[input] = copy;
  return graph.value(copy).constant->mutable_data<float>();
}

void scale_between(Graph& graph, const Pair& pair, const std::vector<float>& factors) {
  const Layout first = *layout_of(graph, graph.nodes[pair.first]), second = *layout_of(graph, graph.nodes[pair.second]);
  std::span<float> weight = own_constant(graph, pair.first, 1);
  first.for_each([&](std::size_t at, std::int64_t o, std::int64_t) { weight[at] /= factors[o]; });
  if (graph.nodes[pair.first].input(2) != kNoValue) {
    std::span<float> bias = own_constant(graph, pair.first, 2);
    for (std::size_t c = 0; c < bias.size(); ++c) bias[c] /= factors[c];
  }
  weight = own_constant(graph, pair.second, 1);
  second.for_each([&](std::size_t at, std::int64_t, std::int64_t i) { weight[at] *= factors[i]; });
}

}  // namespace narrow::quantizers::equalization
