// Moves convolutions and what lies between them to channels-last data, where the fast convolutions are.
//
// One walk over the nodes. A value of the model may have a twin that holds the same numbers channels-last; a node whose
// input has a twin is rewritten to work on it when it can, and otherwise the channels-first value is brought back by a
// Transpose. So Transposes stand only where a region begins and ends.
#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_set>

#include "operators/infer.h"
#include "operators/layout.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;
using Ints = std::vector<std::int64_t>;

// Where axis `axis` of channels-first data of this rank lies in its twin.
std::int64_t twin_axis(std::int64_t axis, std::int64_t rank) { return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1; }

Ints to_last(std::int64_t rank) {
  Ints perm(static_cast<std::size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  return operators::to_channels_last(std::move(perm));
}
Ints to_first(std::int64_t rank) {
  Ints perm(static_cast<std::size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  return operators::to_channels_first(std::move(perm));
}

template <std::size_t N>
bool one_of(const Node& node, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), node.op_type) != names.end();
}

constexpr std::array<std::string_view, 19> kUnary = {"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Selu", "Softplus",
                                                     "Softsign", "Exp", "Sqrt", "Abs", "Neg", "Erf", "Gelu", "Mish", "Identity"};
constexpr std::array<std::string_view, 8> kBinary = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"};
constexpr std::array<std::string_view, 4> kPools = {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"};

class LayoutPass {
 public:
  explicit LayoutPass(Graph& graph) : graph_(graph) {}

  NameMap run() {
    std::vector<Node> before = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : before) {
      if (!move_to_twins(node)) keep(std::move(node));
    }
    for (ValueId id : graph_.outputs) need_first(id);
    NameMap names;
    for (const auto& [first, last] : twins_) names.emplace(graph_.value(first).name, graph_.value(last).name);
    graph::remove_dead(graph_);
    return names;
  }

 private:
  const Type& type(ValueId id) const { return graph_.value(id).type; }
  bool has_twin(ValueId id) const { return id != kNoValue && twins_.contains(id); }
  std::int64_t rank_of(ValueId id) const { return type(id).rank(); }

  void emit(Node node) { graph_.nodes.push_back(std::move(node)); }

  void emit_transpose(ValueId from, ValueId to, Ints perm, const std::string& name) {
    Node node;
    node.name = graph_.unique_node_name(name);
    node.op_type = "Transpose";
    node.inputs = {from};
    node.outputs = {to};
    node.set("perm", std::move(perm));
    emit(std::move(node));
  }

  // A new value for the channels-last form of `id`.
  ValueId make_twin(ValueId id) {
    Type twin = type(id);
    twin.dims = operators::to_channels_last(std::move(twin.dims));
    const ValueId made = graph_.add_value(graph_.value(id).name + "_channels_last", std::move(twin));
    twins_.emplace(id, made);
    return made;
  }

  // The twin of `id`, by a Transpose when there is none yet.
  ValueId twin(ValueId id) {
    const auto found = twins_.find(id);
    if (found != twins_.end()) return found->second;
    const ValueId made = make_twin(id);
    emit_transpose(id, made, to_last(rank_of(id)), graph_.value(made).name);
    return made;
  }

  // The twin that a rewritten node produces: from now on the channels-first form exists only on demand.
  ValueId produce(ValueId id) {
    pending_.insert(id);
    return make_twin(id);
  }

  void need_first(ValueId id) {
    if (id == kNoValue || pending_.erase(id) == 0) return;
    emit_transpose(twins_.at(id), id, to_first(rank_of(id)), graph_.value(id).name + "_channels_first");
  }

  void keep(Node node) {
    for (ValueId id : node.inputs) need_first(id);
    bool captures = false;
    for_each_subgraph(node, [&](Graph&) { captures = true; });
    if (captures) {
      // A subgraph may read any value by name.
      const std::vector<ValueId> all(pending_.begin(), pending_.end());
      for (ValueId id : all) need_first(id);
    }
    emit(std::move(node));
  }

  bool move_to_twins(Node& node) {
    if (node.outputs.empty() || node.output(0) == kNoValue) return false;
    if (node.op_type == "Conv" && (node.domain.empty() || node.domain == "narrow")) return convolution(node);
    if (!node.domain.empty() || !has_twin(node.input(0)) || type(node.input(0)).dtype != DType::kF32) {
      return node.domain.empty() && one_of(node, kBinary) && binary(node);
    }
    if (one_of(node, kPools)) return pool(node);
    if (one_of(node, kUnary)) return unary(node);
    if (one_of(node, kBinary)) return binary(node);
    if (node.op_type == "Concat") return concat(node);
    if (node.op_type == "Resize") return resize(node);
    if (node.op_type == "Transpose") return transpose(node);
    if (node.op_type == "Flatten") return flatten(node);
    return false;
  }

  bool convolution(Node& node) {
    const ValueId x = node.input(0);
    const Tensor* weight = is_fixed_constant(graph_, node.input(1)) ? graph_.constant(node.input(1)) : nullptr;
    if (weight == nullptr || weight->dtype() != DType::kF32 || type(x).dtype != DType::kF32 || !type(x).ranked) return false;
    if (rank_of(x) < 3 || rank_of(x) > 5 || rank_of(node.output(0)) != rank_of(x)) return false;
    node.domain = "narrow";
    node.set("channels_last", std::int64_t{1});
    node.inputs[0] = twin(x);
    if (node.input(3) != kNoValue) node.inputs[3] = twin(node.inputs[3]);
    node.outputs[0] = produce(node.outputs[0]);
    emit(std::move(node));
    return true;
  }

  bool pool(Node& node) {
    if (node.output(1) != kNoValue || rank_of(node.output(0)) != rank_of(node.input(0))) return false;
    node.domain = "narrow";
    node.set("channels_last", std::int64_t{1});
    return on_twin(node);
  }

  // The node as it is, but on the twins of its first input and output.
  bool on_twin(Node& node) {
    node.inputs[0] = twins_.at(node.inputs[0]);
    node.outputs[0] = produce(node.outputs[0]);
    emit(std::move(node));
    return true;
  }

  bool unary(Node& node) { return rank_of(node.output(0)) == rank_of(node.input(0)) && on_twin(node); }

  bool binary(Node& node) {
    const std::int64_t rank = rank_of(node.output(0));
    if (rank < 3 || type(node.output(0)).dtype != DType::kF32) return false;
    bool any = false;
    for (ValueId id : node.inputs) {
      if (id == kNoValue) return false;
      if (has_twin(id)) {
        if (rank_of(id) != rank) return false;
        any = true;
      } else if (!is_fixed_constant(graph_, id) || graph_.constant(id)->dtype() != DType::kF32 || graph_.constant(id)->rank() > rank) {
        return false;
      }
    }
    if (!any) return false;
    for (ValueId& id : node.inputs) {
      if (has_twin(id)) id = twins_.at(id);
      else if (graph_.constant(id)->size() != 1) id = channels_last_constant(id, rank);
    }
    node.outputs[0] = produce(node.outputs[0]);
    emit(std::move(node));
    return true;
  }

  // A constant that broadcasts to `rank` dimensions, its axes moved like its operand's.
  ValueId channels_last_constant(ValueId id, std::int64_t rank) {
    const Tensor& from = *graph_.constant(id);
    Shape shape(static_cast<std::size_t>(rank - from.rank()), 1);
    shape.insert(shape.end(), from.shape().begin(), from.shape().end());
    const Ints perm = to_last(rank);
    Shape moved, steps(shape.size(), 1), moved_steps;
    for (std::size_t i = shape.size(); i-- > 1;) steps[i - 1] = steps[i] * shape[i];
    for (std::int64_t axis : perm) {
      moved.push_back(shape[static_cast<std::size_t>(axis)]);
      moved_steps.push_back(steps[static_cast<std::size_t>(axis)]);
    }
    std::vector<float> values(static_cast<std::size_t>(from.size()));
    for (std::int64_t i = 0; i < from.size(); ++i) {
      std::int64_t rest = i, at = 0;
      for (std::size_t d = moved.size(); d-- > 0;) {
        at += rest % moved[d] * moved_steps[d];
        rest /= moved[d];
      }
      values[static_cast<std::size_t>(i)] = from.data<float>()[static_cast<std::size_t>(at)];
    }
    return graph_.add_constant(graph_.value(id).name + "_channels_last", Tensor::from<float>(moved, std::span<const float>(values)));
  }

  bool concat(Node& node) {
    const std::int64_t rank = rank_of(node.input(0));
    std::int64_t axis = node.get_int("axis", 0);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || rank_of(node.output(0)) != rank) return false;
    for (ValueId id : node.inputs) {
      if (!has_twin(id) || rank_of(id) != rank) return false;
    }
    for (ValueId& id : node.inputs) id = twins_.at(id);
    node.set("axis", twin_axis(axis, rank));
    node.outputs[0] = produce(node.outputs[0]);
    emit(std::move(node));
    return true;
  }

  bool resize(Node& node) {
    const std::int64_t rank = rank_of(node.input(0));
    if (node.has("axes") || rank_of(node.output(0)) != rank) return false;
    if (node.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize") return false;
    const Ints perm = to_last(rank);
    std::vector<ValueId> moved = node.inputs;
    for (std::size_t i = 2; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kNoValue) continue;
      if (!is_fixed_constant(graph_, node.inputs[i])) return false;
      const Tensor& given = *graph_.constant(node.inputs[i]);
      if (given.size() == 0) continue;
      if (given.size() != rank) return false;
      const std::string name = graph_.value(node.inputs[i]).name + "_channels_last";
      const auto permute = [&]<typename T>(T) {
        std::vector<T> values;
        for (std::int64_t axis : perm) values.push_back(given.data<T>()[static_cast<std::size_t>(axis)]);
        return Tensor::from<T>({rank}, std::span<const T>(values));
      };
      if (given.dtype() == DType::kF32) moved[i] = graph_.add_constant(name, permute(float{}));
      else if (given.dtype() == DType::kS64) moved[i] = graph_.add_constant(name, permute(std::int64_t{}));
      else return false;
    }
    node.inputs = std::move(moved);
    return on_twin(node);
  }

  // A Transpose reads the twin just as well.
  bool transpose(Node& node) {
    const std::int64_t rank = rank_of(node.input(0));
    Ints perm = node.get_ints("perm");
    if (static_cast<std::int64_t>(perm.size()) != rank) return false;
    bool identity = true;
    for (std::size_t i = 0; i < perm.size(); ++i) {
      if (perm[i] < 0 || perm[i] >= rank) return false;
      perm[i] = twin_axis(perm[i], rank);
      identity = identity && perm[i] == static_cast<std::int64_t>(i);
    }
    node.inputs[0] = twins_.at(node.inputs[0]);
    if (identity) {
      node.op_type = "Identity";
      node.erase("perm");
    } else {
      node.set("perm", std::move(perm));
    }
    emit(std::move(node));
    return true;
  }

  // One number a channel lies the same way in both forms.
  bool flatten(Node& node) {
    const Type& x = type(node.input(0));
    for (std::size_t i = 2; i < x.dims.size(); ++i) {
      if (x.dims[i].size != 1) return false;
    }
    if (node.get_int("axis", 1) != 1) return false;
    node.inputs[0] = twins_.at(node.inputs[0]);
    emit(std::move(node));
    return true;
  }

  Graph& graph_;
  std::unordered_map<ValueId, ValueId> twins_;   // channels-first value -> its channels-last twin
  std::unordered_set<ValueId> pending_;          // values of which only the twin is computed so far
};

}  // namespace

Result<NameMap> assign_layout(Graph& graph) {
  NARROW_TRY([[maybe_unused]] const operators::Inference inference, operators::infer_types(graph));
  return LayoutPass(graph).run();
}

}  // namespace narrow::passes
