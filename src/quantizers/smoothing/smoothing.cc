#include "quantizers/smoothing/smoothing.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "passes/edit.h"
#include "quantizers/equalization/pairs.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// The largest channel over the median one: below this, one scale serves all well enough.
constexpr float kOutlierRatio = 4.0f;
constexpr float kLargestFactor = 1e3f;

// The readers of an activation that are matrix products by constants, and whether they are all.
struct Group {
  ValueId value = kNoValue;
  std::vector<LayerMatrix> layers;
  bool alone = false;
};

std::vector<Group> find_groups(const Graph& graph) {
  const Uses uses(graph);
  std::vector<Group> groups;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    Group group;
    group.value = static_cast<ValueId>(v);
    for (const Uses::Use& use : uses.readers[v]) {
      if (use.input != 0) continue;
      const Node& node = graph.nodes[use.node];
      const auto layer = node.is("MatMul") || node.is("Gemm") ? layer_matrix(graph, use.node) : std::nullopt;
      if (layer && uses.readers[node.inputs[1]].size() == 1) group.layers.push_back(*layer);
    }
    group.alone = group.layers.size() == uses.readers[v].size() && !uses.is_output[v];
    const bool same = std::all_of(group.layers.begin(), group.layers.end(), [&](const LayerMatrix& l) { return l.columns == group.layers[0].columns; });
    if (!group.layers.empty() && same && !graph.values[v].constant) groups.push_back(std::move(group));
  }
  return groups;
}

bool has_outliers(const std::vector<float>& extents) {
  std::vector<float> sorted = extents;
  std::sort(sorted.begin(), sorted.end());
  return !sorted.empty() && sorted.back() > kOutlierRatio * sorted[sorted.size() / 2];
}

// Geometric mean 1, so that a sum or a product beside it keeps its size.
std::vector<float> factors_of(const std::vector<float>& inputs, const std::vector<float>& weights, double alpha) {
  std::vector<double> logs(inputs.size(), 0.0);
  double sum = 0, count = 0;
  for (std::size_t c = 0; c < inputs.size(); ++c) {
    if (inputs[c] <= 0 || weights[c] <= 0) continue;
    logs[c] = alpha * std::log(inputs[c]) - (1 - alpha) * std::log(weights[c]);
    sum += logs[c], count += 1;
  }
  std::vector<float> factors(inputs.size(), 1.0f);
  for (std::size_t c = 0; c < inputs.size(); ++c) {
    if (inputs[c] <= 0 || weights[c] <= 0) continue;
    factors[c] = static_cast<float>(std::clamp(std::exp(logs[c] - sum / count), 1.0 / kLargestFactor, static_cast<double>(kLargestFactor)));
  }
  return factors;
}

// A constant of `columns` numbers along the last axis, of its own.
bool divide_constant(Graph& graph, int node, int input, const std::vector<float>& factors) {
  const ValueId id = graph.nodes[node].input(static_cast<std::size_t>(input));
  const Tensor* constant = graph.constant(id);
  if (constant == nullptr || constant->dtype() != DType::kF32 || constant->size() != static_cast<std::int64_t>(factors.size()) ||
      constant->shape().empty() || constant->shape().back() != constant->size()) {
    return false;
  }
  std::span<float> values = equalization::own_constant(graph, node, input);
  for (std::size_t c = 0; c < factors.size(); ++c) values[c] /= factors[c];
  return true;
}

bool is_divisible(const Graph& graph, const Node& node, std::size_t input, std::size_t columns) {
  const Tensor* constant = graph.constant(node.input(input));
  return constant != nullptr && constant->dtype() == DType::kF32 && constant->size() == static_cast<std::int64_t>(columns) && !constant->shape().empty() &&
         constant->shape().back() == constant->size();
}

// LayerNormalization(x, scale, bias), or Add(Mul(x, scale), bias): divides what they make.
bool fold_into_maker(Graph& graph, ValueId value, const std::vector<float>& factors) {
  const Uses uses(graph);
  const int maker = uses.producer[value];
  if (maker < 0) return false;
  const std::size_t columns = factors.size();
  if (graph.nodes[maker].is("LayerNormalization") && graph.nodes[maker].outputs.size() == 1) {
    if (!is_divisible(graph, graph.nodes[maker], 1, columns)) return false;
    if (graph.nodes[maker].input(2) != kNoValue && !is_divisible(graph, graph.nodes[maker], 2, columns)) return false;
    if (graph.nodes[maker].input(2) != kNoValue) divide_constant(graph, maker, 2, factors);
    return divide_constant(graph, maker, 1, factors);
  }
  if (!graph.nodes[maker].is("Add")) return false;
  const int bias = graph.constant(graph.nodes[maker].input(0)) != nullptr ? 0 : 1;
  const ValueId product = graph.nodes[maker].input(static_cast<std::size_t>(1 - bias));
  const int mul = product == kNoValue ? -1 : uses.producer[product];
  if (mul < 0 || !graph.nodes[mul].is("Mul") || uses.readers[product].size() != 1 || uses.is_output[product]) return false;
  const int scale = graph.constant(graph.nodes[mul].input(0)) != nullptr ? 0 : 1;
  if (!is_divisible(graph, graph.nodes[maker], static_cast<std::size_t>(bias), columns) || !is_divisible(graph, graph.nodes[mul], static_cast<std::size_t>(scale), columns)) return false;
  return divide_constant(graph, maker, bias, factors) && divide_constant(graph, mul, scale, factors);
}

void divide_for(Graph& graph, const Group& group, const std::vector<float>& factors) {
  const std::string name = graph.value(group.value).name;
  const graph::Type type = graph.value(group.value).type;
  Node node;
  node.op_type = "Div";
  node.name = graph.unique_node_name(name + "_smooth");
  const ValueId by = graph.add_constant(name + "_factors", Tensor::from<float>({static_cast<std::int64_t>(factors.size())}, std::span<const float>(factors)));
  node.inputs = {group.value, by};
  node.outputs = {graph.add_value(name + "_smooth", type)};
  for (const LayerMatrix& layer : group.layers) graph.nodes[layer.node].inputs[0] = node.outputs[0];
  graph.nodes.push_back(std::move(node));
}

}  // namespace

Result<int> smooth_activations(Graph& graph, double alpha, const datasets::Dataset& data, const InputOptions& options) {
  const std::vector<Group> groups = find_groups(graph);
  const std::vector<equalization::Pair> pairs = equalization::find_pairs(graph);
  std::map<std::string, int> axes;
  for (const Group& group : groups) axes.emplace(graph.value(group.value).name, -1);
  for (const equalization::Pair& pair : pairs) axes.emplace(graph.value(pair.read).name, 1);
  NARROW_TRY(const auto extents, channels_seen(graph, axes, data, options));
  const auto seen = [&](ValueId id, std::size_t columns) -> const std::vector<float>* {
    const auto found = extents.find(graph.value(id).name);
    return found == extents.end() || found->second.extent.size() != columns || !has_outliers(found->second.extent) ? nullptr : &found->second.extent;
  };
  int smoothed = 0;
  for (const equalization::Pair& pair : pairs) {
    const std::vector<float>* inputs = seen(pair.read, static_cast<std::size_t>(pair.channels));
    if (inputs == nullptr) continue;
    const auto second = equalization::layout_of(graph, graph.nodes[pair.second]);
    equalization::scale_between(graph, pair, factors_of(*inputs, equalization::input_extents(*second, *graph.constant(graph.nodes[pair.second].inputs[1])), alpha));
    ++smoothed;
  }
  for (const Group& group : groups) {
    const auto columns = static_cast<std::size_t>(group.layers[0].columns);
    const std::vector<float>* inputs = seen(group.value, columns);
    const bool paired = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) { return pair.read == group.value; });
    if (inputs == nullptr || paired) continue;
    std::vector<float> weights(columns, 0.0f);
    for (const LayerMatrix& layer : group.layers) {
      const std::span<const float> w = graph.constant(graph.nodes[layer.node].inputs[1])->data<float>();
      for (std::int64_t r = 0; r < layer.rows; ++r) {
        for (std::int64_t c = 0; c < layer.columns; ++c) weights[c] = std::max(weights[c], std::abs(w[layer.at(0, r, c)]));
      }
    }
    const std::vector<float> factors = factors_of(*inputs, weights, alpha);
    for (const LayerMatrix& layer : group.layers) {
      std::span<float> w = equalization::own_constant(graph, layer.node, 1);
      for (std::int64_t r = 0; r < layer.rows; ++r) {
        for (std::int64_t c = 0; c < layer.columns; ++c) w[layer.at(0, r, c)] *= factors[c];
      }
    }
    if (!group.alone || !fold_into_maker(graph, group.value, factors)) divide_for(graph, group, factors);
    ++smoothed;
  }
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  return smoothed;
}

}  // namespace narrow::quantizers
