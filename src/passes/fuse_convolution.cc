// Conv followed by its activation, or by a residual Add and then an activation, becomes one "narrow" Conv.
#include <algorithm>
#include <limits>
#include <optional>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::Uses;
using graph::ValueId;

struct FusedActivation {
  const char* name;
  float alpha = 0, beta = 0;
};

// A scalar f32 constant, `absent` when the input is left out, nothing when it is something else.
std::optional<float> scalar(const Graph& graph, ValueId id, float absent) {
  if (id == kNoValue) return absent;
  if (!is_fixed_constant(graph, id)) return std::nullopt;
  const Tensor& tensor = *graph.constant(id);
  if (tensor.dtype() != DType::kF32 || tensor.size() != 1) return std::nullopt;
  return tensor.data<float>()[0];
}

std::optional<FusedActivation> activation_of(const Graph& graph, const Node& node) {
  if (!node.domain.empty()) return std::nullopt;
  if (node.op_type == "Relu") return FusedActivation{"relu"};
  if (node.op_type == "LeakyRelu") return FusedActivation{"relu", node.get_float("alpha", 0.01f)};
  if (node.op_type == "Sigmoid") return FusedActivation{"sigmoid"};
  if (node.op_type == "Tanh") return FusedActivation{"tanh"};
  if (node.op_type == "HardSwish") return FusedActivation{"hard_swish"};
  if (node.op_type == "Clip") {
    const auto low = scalar(graph, node.input(1), std::numeric_limits<float>::lowest()), high = scalar(graph, node.input(2), std::numeric_limits<float>::max());
    if (low && high && *low <= *high) return FusedActivation{"clip", *low, *high};
  }
  return std::nullopt;
}

bool same_dims(const Type& a, const Type& b) {
  return a.ranked && b.ranked && a.dtype == DType::kF32 && b.dtype == DType::kF32 &&
         std::equal(a.dims.begin(), a.dims.end(), b.dims.begin(), b.dims.end(), [](const graph::Dim& x, const graph::Dim& y) { return x.same(y); });
}

class Fuser {
 public:
  Fuser(Graph& graph, const NameSet& keep) : graph_(graph), keep_(keep), uses_(graph), gone_(graph.nodes.size(), false) {}

  // A fused node takes the place of the last node it replaces, so everything that it reads stands before it.
  int run() {
    int fused = 0;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!gone_[n] && (fuse_swish(n) || fuse_activation(n) || fuse_residual(n))) ++fused;
    }
    std::size_t kept = 0;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (gone_[n]) continue;
      if (kept != n) graph_.nodes[kept] = std::move(graph_.nodes[n]);
      ++kept;
    }
    graph_.nodes.resize(kept);
    if (fused > 0) graph::remove_dead(graph_);
    return fused;
  }

 private:
  Node& node(std::size_t n) { return graph_.nodes[n]; }

  // The f32 convolution without an activation so far that makes `id`, which only `readers` uses read.
  std::optional<std::size_t> open_convolution(ValueId id, std::size_t readers) {
    if (id == kNoValue || uses_.producer[id] < 0 || uses_.is_output[id] || uses_.readers[id].size() != readers) return std::nullopt;
    if (keep_.contains(graph_.value(id).name)) return std::nullopt;
    const auto n = static_cast<std::size_t>(uses_.producer[id]);
    const Node& conv = node(n);
    const bool fits = conv.op_type == "Conv" && (conv.domain.empty() || (conv.domain == "narrow" && conv.get_string("activation", "").empty()));
    const Tensor* weight = fits && is_fixed_constant(graph_, conv.input(1)) ? graph_.constant(conv.input(1)) : nullptr;
    if (weight == nullptr || weight->dtype() != DType::kF32) return std::nullopt;
    return n;
  }

  void replace(std::size_t conv, std::size_t last, ValueId residual, const FusedActivation* activation) {
    Node fused = node(conv);
    fused.domain = "narrow";
    if (residual != kNoValue) {
      fused.inputs.resize(4, kNoValue);
      fused.inputs[3] = residual;
      for (Uses::Use& use : uses_.readers[residual]) {
        if (use.node == static_cast<int>(last)) use.input = 3;
      }
    }
    if (activation != nullptr) {
      fused.set("activation", std::string(activation->name));
      fused.set("alpha", activation->alpha);
      fused.set("beta", activation->beta);
    }
    fused.outputs = node(last).outputs;
    uses_.producer[fused.outputs[0]] = static_cast<int>(last);
    gone_[conv] = true;
    node(last) = std::move(fused);
  }

  bool fuse_activation(std::size_t n) {
    const auto activation = activation_of(graph_, node(n));
    if (!activation) return false;
    const auto conv = open_convolution(node(n).input(0), 1);
    if (!conv) return false;
    replace(*conv, n, kNoValue, &*activation);
    return true;
  }

  // x * sigmoid(x), the two nodes that exporters write for it.
  bool fuse_swish(std::size_t n) {
    const Node& mul = node(n);
    if (!mul.is("Mul") || mul.inputs.size() != 2) return false;
    for (int side : {0, 1}) {
      const ValueId x = mul.input(1 - side), gate = mul.input(side);
      if (gate == kNoValue || uses_.producer[gate] < 0 || uses_.readers[gate].size() != 1 || uses_.is_output[gate] || keep_.contains(graph_.value(gate).name)) continue;
      const auto s = static_cast<std::size_t>(uses_.producer[gate]);
      if (!node(s).is("Sigmoid") || node(s).input(0) != x) continue;
      const auto conv = open_convolution(x, 2);
      if (!conv) continue;
      const FusedActivation swish = {"swish", 1.0f};
      gone_[s] = true;
      replace(*conv, n, kNoValue, &swish);
      return true;
    }
    return false;
  }

  bool fuse_residual(std::size_t n) {
    const Node& add = node(n);
    if (!add.is("Add") || add.inputs.size() != 2 || add.input(0) == add.input(1)) return false;
    if (!same_dims(graph_.value(add.input(0)).type, graph_.value(add.input(1)).type)) return false;
    // Of two convolutions the later takes the other's result.
    std::optional<std::size_t> best;
    ValueId residual = kNoValue;
    for (int side : {0, 1}) {
      const auto conv = open_convolution(add.input(side), 1);
      if (!conv || node(*conv).input(3) != kNoValue || (best && *best > *conv)) continue;
      best = conv;
      residual = add.input(1 - side);
    }
    if (!best || graph_.constant(residual) != nullptr) return false;
    replace(*best, n, residual, nullptr);
    return true;
  }

  Graph& graph_;
  const NameSet& keep_;
  Uses uses_;
  std::vector<bool> gone_;
};

}  // namespace

Result<int> fuse_convolution(Graph& graph, const NameSet& keep) {
  NARROW_TRY([[maybe_unused]] const operators::Inference inference, operators::infer_types(graph));
  return Fuser(graph, keep).run();
}

}  // namespace narrow::passes
