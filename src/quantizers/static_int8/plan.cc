#include "quantizers/static_int8/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "passes/edit.h"
#include "quantizers/rules.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using graph::Uses;
using graph::ValueId;
using operators::QuantRole;

// A Concat of values whose ranges differ by more than this would leave the narrow one less than 4 of its 8 bits.
constexpr float kMaxRangeRatio = 16.0f;

// Values of a Gemm's C or a Conv's bias that can be one number an output channel.
bool bias_fits(const Graph& graph, const Node& node, const NodePlan& plan) {
  const ValueId bias = node.input(static_cast<std::size_t>(plan.op->quant.bias_input));
  if (bias == kNoValue) return true;
  const Tensor& tensor = *graph.constant(bias);
  if (tensor.rank() <= 1) return true;
  return tensor.size() == tensor.shape().back();
}

std::string why_float(const Graph& graph, const Node& node, const NodePlan& plan, const targets::Target& target) {
  if (!node.domain.empty()) return fmt::format("narrow has no quantization rule for operators of '{}'", node.domain);
  if (plan.op == nullptr) return fmt::format("narrow does not know the operator {}", node.op_type);
  if (plan.role == QuantRole::kNone) return fmt::format("{} has no integer form", node.op_type);
  if (plan.role == QuantRole::kActivation) return "";  // decided with the layer before it
  if (plan.rule == nullptr) return fmt::format("{} has no integer kernel on {}", node.op_type, target.name);
  if (plan.rule->refuses != nullptr) {
    const std::string_view reason = plan.rule->refuses(graph, node);
    if (!reason.empty()) return std::string(reason);
  }
  const auto described = [&](ValueId id) { return base::escape_controls(graph.value(id).name); };
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId id = node.inputs[i];
    const bool weight = is_weight_input(graph, plan, node, i);
    if (id == kNoValue || !(weight || is_data_input(graph, node, plan, i))) continue;
    const Type& type = graph.value(id).type;
    if (type.kind != TypeKind::kTensor || type.dtype == DType::kUndefined) return fmt::format("the type of its input '{}' is not known", described(id));
    if (type.dtype != DType::kF32) return fmt::format("it computes on {}, not f32", to_string(type.dtype));
    if (!type.ranked && plan.role == QuantRole::kCompute) return fmt::format("the rank of its input '{}' is not known", described(id));
    if (const Tensor* tensor = graph.constant(id)) {
      const std::span<const float> data = tensor->data<float>();
      if (!std::all_of(data.begin(), data.end(), [](float x) { return std::isfinite(x); })) {
        return fmt::format("its constant '{}' holds infinities or NaN", described(id));
      }
    }
  }
  if (plan.role != QuantRole::kCompute) {
    bool any = false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      any = any || (is_data_input(graph, node, plan, i) && graph.constant(node.inputs[i]) == nullptr);
    }
    return any ? "" : "none of its inputs is an activation";
  }
  const int weight = plan.op->quant.weight_input;
  const bool constant_weight = weight >= 0 && passes::is_fixed_constant(graph, node.input(static_cast<std::size_t>(weight)));
  if (!constant_weight && node.op_type != "MatMul") return "its weights are not constant";
  if (plan.op->quant.bias_input >= 0) {
    const ValueId bias = node.input(static_cast<std::size_t>(plan.op->quant.bias_input));
    if (bias != kNoValue && !passes::is_fixed_constant(graph, bias)) return "its bias is not constant";
    if (bias != kNoValue && graph.value(bias).type.dtype != DType::kF32) return "its bias is not f32";
    if (target.bias == targets::BiasRule::kInt32 && !bias_fits(graph, node, plan)) return "its bias is a matrix, not one value a channel";
  }
  return "";
}

// A saturating range around 0 expresses these bounds by itself.
bool range_expresses(const Graph& graph, const Node& node) {
  const auto [low, high] = activation_bounds(graph, node);
  return low <= 0 && high > 0;
}

void fold_activations(const Graph& graph, const Uses& uses, const Recipe& recipe, Plan& plan) {
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    NodePlan& own = plan.nodes[n];
    if (own.role != QuantRole::kActivation || !own.reason.empty()) continue;
    const ValueId in = node.input(0);
    const int producer = in == kNoValue ? -1 : uses.producer[in];
    if (producer < 0 || !plan.nodes[producer].quantized) {
      own.reason = fmt::format("{} behind a float operator stays float", node.op_type);
      continue;
    }
    NodePlan& layer = plan.nodes[producer];
    if (!plan.target->folds_activation) {
      own.reason = fmt::format("{} fuses it in float with the layer before it", plan.target->name);
      continue;
    }
    const Node& before = graph.nodes[static_cast<std::size_t>(producer)];
    const ActivationChoice choice = activation_choice(recipe, *plan.target, before.name, before.op_type);
    if (layer.folded) {
      own.reason = fmt::format("the range already expresses the {} before it", before.op_type);
    } else if (choice.symmetric) {
      own.reason = fmt::format("a symmetric range does not express {}", node.op_type);
    } else if (!range_expresses(graph, node)) {
      own.reason = fmt::format("{} with these bounds is not expressed by a range", node.op_type);
    } else if (layer.role == QuantRole::kTransport || before.op_type == "Concat" || layer.op->quant.fixed_output) {
      own.reason = fmt::format("{} behind {} has no integer kernel on {}", node.op_type, before.op_type, plan.target->name);
    } else if (uses.readers[in].size() != 1 || uses.is_output[in] || before.outputs.size() != 1) {
      own.reason = fmt::format("others read its input '{}' before {}", base::escape_controls(graph.value(in).name), node.op_type);
    } else {
      own.folded = own.quantized = true;
      layer.folds = static_cast<int>(n);
    }
  }
}

void refuse_far_ranges(const Graph& graph, const Ranges& ranges, Plan& plan) {
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    NodePlan& own = plan.nodes[n];
    const Node& node = graph.nodes[n];
    if (!own.quantized || node.op_type != "Concat") continue;
    float narrowest = INFINITY, widest = 0;
    for (ValueId id : node.inputs) {
      const auto it = ranges.find(id);
      if (it == ranges.end()) continue;
      const float width = std::max(it->second.max, 0.0f) - std::min(it->second.min, 0.0f);
      if (width <= 0) continue;
      narrowest = std::min(narrowest, width);
      widest = std::max(widest, width);
    }
    if (widest > narrowest * kMaxRangeRatio) {
      own.quantized = false;
      own.reason = fmt::format("the ranges of its inputs differ {:.0f} times; one scale would erase the narrow one", widest / narrowest);
    }
  }
}

// Inputs and scores bear rounding worst, and their layers are a small part of the work of most networks.
void keep_ends(const Graph& graph, Plan& plan) {
  int first = -1, last = -1;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const NodePlan& own = plan.nodes[n];
    if (own.role != QuantRole::kCompute || own.op->quant.weight_input < 0) continue;
    if (graph.constant(graph.nodes[n].input(static_cast<std::size_t>(own.op->quant.weight_input))) == nullptr) continue;
    if (first < 0) first = static_cast<int>(n);
    last = static_cast<int>(n);
  }
  for (int n : {first, last}) {
    if (n < 0 || !plan.nodes[n].quantized) continue;
    plan.nodes[n].quantized = false;
    plan.nodes[n].reason = n == first ? "the first layer, kept by keep_first_last" : "the last layer, kept by keep_first_last";
  }
}

}  // namespace

std::pair<float, float> activation_bounds(const Graph& graph, const Node& node) {
  constexpr std::pair<float, float> kNothing{1.0f, -1.0f};
  if (node.op_type == "Relu") return {0.0f, INFINITY};
  if (node.op_type != "Clip") return kNothing;
  std::pair<float, float> bounds{-INFINITY, INFINITY};
  for (std::size_t i : {1u, 2u}) {
    if (node.input(i) == kNoValue) continue;
    const Tensor* bound = graph.constant(node.input(i));
    if (bound == nullptr || bound->dtype() != DType::kF32 || bound->size() != 1) return kNothing;
    (i == 1 ? bounds.first : bounds.second) = bound->data<float>()[0];
  }
  return bounds;
}

bool is_weight_input(const Graph& graph, const NodePlan& plan, const Node& node, std::size_t i) {
  return plan.role == QuantRole::kCompute && plan.op->quant.weight_input == static_cast<int>(i) &&
         passes::is_fixed_constant(graph, node.input(i));
}

bool is_data_input(const Graph& graph, const Node& node, const NodePlan& plan, std::size_t i) {
  if (plan.op == nullptr || node.input(i) == kNoValue) return false;
  const operators::QuantRule& rule = plan.op->quant;
  if (rule.bias_input == static_cast<int>(i) && plan.role == QuantRole::kCompute) return false;
  if (is_weight_input(graph, plan, node, i)) return false;
  if (rule.all_inputs) return true;
  if (plan.role == QuantRole::kCompute && rule.weight_input == static_cast<int>(i)) return true;
  if (rule.data_inputs == 0) return i == 0;
  return i < 32 && ((rule.data_inputs >> i) & 1u) != 0;
}

std::vector<std::string> Plan::calibrated(const Graph& graph) const {
  std::vector<bool> needed(values.size(), false);
  for (std::size_t v = 0; v < values.size(); ++v) needed[v] = values[v].quantized && !graph.values[v].constant;
  // The signal that a layer's rounded inputs are measured against.
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (!nodes[n].quantized || nodes[n].role != QuantRole::kCompute) continue;
    for (ValueId id : effective_outputs(graph, *this, static_cast<int>(n))) needed[id] = true;
  }
  std::vector<std::string> names;
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (needed[v]) names.push_back(graph.values[v].name);
  }
  return names;
}

Result<Plan> make_plan(const Graph& graph, const targets::Target& target, const Recipe& recipe,
                       const Observed* observed) {
  Plan plan;
  plan.target = &target;
  plan.nodes.resize(graph.nodes.size());
  plan.values.resize(graph.values.size());
  const Uses uses(graph);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    NodePlan& own = plan.nodes[n];
    own.op = operators::find_operator(node.domain, node.op_type);
    own.role = own.op == nullptr ? QuantRole::kNone : own.op->quant.role;
    own.rule = node.domain.empty() ? target.find(node.op_type) : nullptr;
    if (std::string excluded = excluded_by(recipe, node.name, node.op_type); !excluded.empty()) {
      own.reason = std::move(excluded);
      continue;
    }
    own.reason = why_float(graph, node, own, target);
    own.quantized = own.reason.empty() && own.role != QuantRole::kActivation;
    own.per_channel = per_channel_choice(recipe, node.name, node.op_type);
  }
  if (recipe.keep_first_last) keep_ends(graph, plan);
  refuse_before_log(graph, plan);
  if (observed != nullptr) {
    refuse_far_ranges(graph, observed->ranges, plan);
    refuse_noise(graph, recipe, *observed, plan);
  }
  fold_activations(graph, uses, recipe, plan);
  refuse_islands(graph, plan);
  place_values(graph, recipe, plan);
  share_parameters(graph, observed == nullptr ? nullptr : &observed->ranges, plan);
  return plan;
}

}  // namespace narrow::quantizers::static_int8
