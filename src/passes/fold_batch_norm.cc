#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string_view>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// y = x * scale[c] + shift[c] over output channels c.
struct ChannelAffine {
  std::vector<double> scale, shift;
};

const Tensor* fixed_f32(const Graph& graph, ValueId id) {
  if (!is_fixed_constant(graph, id)) return nullptr;
  const Tensor* tensor = graph.constant(id);
  return tensor->dtype() == DType::kF32 ? tensor : nullptr;
}

// Output channels of a layer with constant weights, 0 when it cannot absorb a following affine map.
std::int64_t output_channels(const Graph& graph, const Node& node) {
  if (!node.domain.empty()) return 0;
  const Tensor* w = fixed_f32(graph, node.input(1));
  if (w == nullptr) return 0;
  if (node.input(2) != kNoValue && fixed_f32(graph, node.input(2)) == nullptr) return 0;
  if (node.op_type == "Conv" && w->rank() >= 3) return w->shape()[0];
  if (node.op_type == "ConvTranspose" && w->rank() >= 3) {
    const std::int64_t groups = node.get_int("group", 1);
    return groups > 0 && w->shape()[0] % groups == 0 ? w->shape()[1] * groups : 0;
  }
  if (node.op_type == "Gemm" && w->rank() == 2) return w->shape()[node.get_int("transB", 0) != 0 ? 0 : 1];
  return 0;
}

// Values of a constant that broadcasts over everything but the channels, spread to `channels`; empty when it does not.
std::vector<double> per_channel_values(const Tensor& t, std::int64_t channels, int rank, int channel_axis) {
  if (t.rank() > rank) return {};
  // Aligned to the right, as broadcasting does.
  for (int i = 0; i < t.rank(); ++i) {
    const int axis = rank - t.rank() + i;
    if (t.shape()[i] != 1 && (axis != channel_axis || t.shape()[i] != channels)) return {};
  }
  const std::vector<float> values = t.to_float();
  if (values.size() == 1) return std::vector<double>(static_cast<std::size_t>(channels), values[0]);
  return std::vector<double>(values.begin(), values.end());
}

std::optional<ChannelAffine> batch_norm_affine(const Graph& graph, const Node& bn, std::int64_t channels) {
  if (bn.get_int("training_mode", 0) != 0) return std::nullopt;
  const Tensor* t[4];
  for (std::size_t i = 0; i < 4; ++i) {
    t[i] = fixed_f32(graph, bn.input(i + 1));
    if (t[i] == nullptr || t[i]->size() != channels) return std::nullopt;
  }
  const double epsilon = bn.get_float("epsilon", 1e-5f);
  ChannelAffine affine;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double factor = t[0]->data<float>()[c] / std::sqrt(static_cast<double>(t[3]->data<float>()[c]) + epsilon);
    if (!std::isfinite(factor)) return std::nullopt;
    affine.scale.push_back(factor);
    affine.shift.push_back(t[1]->data<float>()[c] - factor * t[2]->data<float>()[c]);
  }
  return affine;
}

// The affine map that `next` applies to value `x` of the given rank, if it is one.
std::optional<ChannelAffine> following_affine(const Graph& graph, const Node& next, ValueId x, std::int64_t channels, int rank) {
  if (!next.domain.empty()) return std::nullopt;
  if (next.op_type == "BatchNormalization" && next.input(0) == x) return batch_norm_affine(graph, next, channels);
  const bool commutes = next.op_type == "Mul" || next.op_type == "Add";
  if (!commutes && next.op_type != "Sub" && next.op_type != "Div") return std::nullopt;
  std::size_t other = next.input(0) == x ? 1 : 0;
  if (next.input(1 - other) != x || (!commutes && other == 0)) return std::nullopt;
  const Tensor* t = fixed_f32(graph, next.input(other));
  if (t == nullptr || rank < 2) return std::nullopt;
  const std::vector<double> values = per_channel_values(*t, channels, rank, 1);
  if (static_cast<std::int64_t>(values.size()) != channels) return std::nullopt;
  ChannelAffine affine{std::vector<double>(values.size(), 1.0), std::vector<double>(values.size(), 0.0)};
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (next.op_type == "Mul") affine.scale[c] = values[c];
    if (next.op_type == "Div") affine.scale[c] = 1.0 / values[c];
    if (next.op_type == "Add") affine.shift[c] = values[c];
    if (next.op_type == "Sub") affine.shift[c] = -values[c];
    if (!std::isfinite(affine.scale[c]) || !std::isfinite(affine.shift[c])) return std::nullopt;
  }
  return affine;
}

// New weights and bias for `node`; the old constants may be shared and are left as they are.
void absorb(Graph& graph, Node& node, const ChannelAffine& affine) {
  const auto channels = static_cast<std::int64_t>(affine.scale.size());
  const Tensor& w = *graph.constant(node.input(1));
  Tensor scaled = w.clone();
  std::span<float> out = scaled.mutable_data<float>();
  const std::int64_t d0 = w.shape()[0], d1 = w.shape()[1];
  const std::int64_t inner = d0 * d1 == 0 ? 0 : w.size() / (d0 * d1);
  double alpha = 1, beta = 1;
  const std::int64_t groups = node.get_int("group", 1);
  const bool channel_first = node.op_type == "Conv" || (node.op_type == "Gemm" && node.get_int("transB", 0) != 0);
  if (node.op_type == "Gemm") {
    alpha = node.get_float("alpha", 1);
    beta = node.get_float("beta", 1);
  }
  for (std::int64_t i = 0; i < d0; ++i) {
    for (std::int64_t j = 0; j < d1; ++j) {
      // ConvTranspose weights are [in, out/group, …]: the group of input channel i chooses the block of outputs.
      const std::int64_t c = channel_first                     ? i
                             : node.op_type == "ConvTranspose" ? i / (d0 / groups) * d1 + j
                                                               : j;
      for (std::int64_t k = 0; k < inner; ++k) {
        float& element = out[(i * d1 + j) * inner + k];
        element = static_cast<float>(element * alpha * affine.scale[c]);
      }
    }
  }

  std::vector<double> bias(static_cast<std::size_t>(channels), 0.0);
  if (node.input(2) != kNoValue) bias = per_channel_values(*graph.constant(node.input(2)), channels, node.op_type == "Gemm" ? 2 : 1, node.op_type == "Gemm" ? 1 : 0);
  std::vector<float> folded(bias.size());
  for (std::size_t c = 0; c < bias.size(); ++c) folded[c] = static_cast<float>(bias[c] * beta * affine.scale[c] + affine.shift[c]);

  const std::string weight_name = graph.value(node.input(1)).name;
  const ValueId new_weight = graph.add_constant(weight_name + "_folded", std::move(scaled));
  const ValueId new_bias = graph.add_constant(
      node.input(2) != kNoValue ? graph.value(node.input(2)).name + "_folded" : node.name + "_bias",
      Tensor::from<float>({channels}, std::span<const float>(folded)));
  node.inputs.resize(3, kNoValue);
  node.inputs[1] = new_weight;
  node.inputs[2] = new_bias;
  if (node.op_type == "Gemm") {
    node.erase("alpha");
    node.erase("beta");
  }
}

// A Gemm's C that is not one value a column cannot become a bias.
bool bias_is_vector(const Graph& graph, const Node& node, std::int64_t channels) {
  if (node.input(2) == kNoValue) return true;
  const bool gemm = node.op_type == "Gemm";
  return static_cast<std::int64_t>(per_channel_values(*graph.constant(node.input(2)), channels, gemm ? 2 : 1, gemm ? 1 : 0).size()) == channels;
}

// MatMul(x, W) + Add(b) with x of rank 2 is Gemm, which takes its bias along into integers.
bool matmul_add_to_gemm(Graph& graph, Node& matmul, const Uses& uses) {
  if (!matmul.is("MatMul")) return false;
  const Tensor* w = fixed_f32(graph, matmul.input(1));
  const ValueId out = matmul.output(0);
  if (w == nullptr || w->rank() != 2 || graph.value(matmul.input(0)).type.rank() != 2 || uses.is_output[out] ||
      uses.readers[out].size() != 1 || uses.readers[out][0].input < 0) {
    return false;
  }
  Node& add = graph.nodes[static_cast<std::size_t>(uses.readers[out][0].node)];
  if (!add.is("Add")) return false;
  const ValueId bias = add.input(0) == out ? add.input(1) : add.input(0);
  const Tensor* b = fixed_f32(graph, bias);
  if (b == nullptr || b->rank() > 2 || b->size() != w->shape()[1] || b->shape().back() != w->shape()[1]) return false;
  matmul.op_type = "Gemm";
  matmul.inputs.push_back(bias);
  matmul.outputs[0] = add.outputs[0];
  add.inputs.clear();
  add.outputs.clear();
  return true;
}

int fold_once(Graph& graph) {
  int folded = 0;
  const Uses uses(graph);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    if (node.outputs.empty()) continue;
    if (matmul_add_to_gemm(graph, node, uses)) {
      ++folded;
      continue;
    }
    const std::int64_t channels = output_channels(graph, node);
    const ValueId out = node.output(0);
    if (channels <= 0 || !bias_is_vector(graph, node, channels) || uses.is_output[out] || uses.readers[out].size() != 1 ||
        uses.readers[out][0].input < 0) {
      continue;
    }
    Node& next = graph.nodes[static_cast<std::size_t>(uses.readers[out][0].node)];
    if (next.outputs.size() > 1) {
      bool extra = false;
      for (std::size_t i = 1; i < next.outputs.size(); ++i) extra = extra || next.outputs[i] != kNoValue;
      if (extra) continue;
    }
    const int rank = node.op_type == "Gemm" ? 2 : graph.constant(node.input(1))->rank();
    const std::optional<ChannelAffine> affine = following_affine(graph, next, out, channels, rank);
    if (!affine) continue;
    absorb(graph, node, *affine);
    graph.nodes[n].outputs[0] = next.outputs[0];
    next.inputs.clear();
    next.outputs.clear();
    ++folded;
  }
  remove_emptied(graph);
  return folded;
}

}  // namespace

Result<int> fold_batch_norm(Graph& graph) {
  int total = 0;
  // Chains (Conv, BatchNormalization, Mul, Add) fold one link a round.
  for (int folded = fold_once(graph); folded > 0; folded = fold_once(graph)) total += folded;
  if (total > 0) graph::remove_dead(graph);
  // A folded tensor takes its old name when the original is gone.
  constexpr std::string_view kSuffix = "_folded";
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    std::string name = graph.values[v].name;
    while (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
    if (graph.values[v].constant && graph.find_value(name) == kNoValue) graph.rename_value(static_cast<ValueId>(v), name);
  }
  return total;
}

}  // namespace narrow::passes
