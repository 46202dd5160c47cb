// Which values get QuantizeLinear/DequantizeLinear, and which of them share scale and zero point.
#include <algorithm>
#include <numeric>

#include "quantizers/rules.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;
using operators::QuantRole;

class UnionFind {
 public:
  explicit UnionFind(std::size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  int find(int x) {
    while (parent_[x] != x) x = parent_[x] = parent_[parent_[x]];
    return x;
  }
  // The smaller id represents the set, so that the result does not depend on the order of unions.
  void merge(int a, int b) {
    a = find(a), b = find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<int> parent_;
};

// Of a residual sum: true for the branch that a layer makes for this sum alone, which fuses unquantized.
bool is_main_branch(const Graph& graph, const Plan& plan, const Uses& uses, ValueId id) {
  const int maker = uses.producer[id];
  return maker >= 0 && plan.nodes[maker].role == QuantRole::kCompute && plan.nodes[maker].quantized &&
         uses.readers[id].size() == 1 && !uses.is_output[id] && graph.nodes[maker].outputs.size() == 1;
}

bool wants_quantized(const Graph& graph, const Plan& plan, const Uses& uses, int n, std::size_t i) {
  const Node& node = graph.nodes[n];
  if (!is_data_input(graph, node, plan.nodes[n], i)) return false;
  if (!plan.nodes[n].rule->shortcut_only || node.inputs.size() != 2) return true;
  const bool main0 = is_main_branch(graph, plan, uses, node.inputs[0]), main1 = is_main_branch(graph, plan, uses, node.inputs[1]);
  if (main0 == main1) return main0 ? i == 1 : true;
  return i == (main0 ? 1u : 0u);
}

}  // namespace

void place_values(const Graph& graph, const Recipe& recipe, Plan& plan) {
  const Uses uses(graph);
  const bool every_edge = plan.target->placement == targets::Placement::kEveryEdge;
  const std::vector<int> makers = effective_makers(graph, plan);
  std::vector<int> first_reader(graph.values.size(), -1);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const NodePlan& own = plan.nodes[n];
    if (!own.quantized || own.folded) continue;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (!wants_quantized(graph, plan, uses, static_cast<int>(n), i)) continue;
      ValuePlan& value = plan.values[node.inputs[i]];
      if (!value.on_grid) value.quantized = true;
      if (first_reader[node.inputs[i]] < 0) first_reader[node.inputs[i]] = static_cast<int>(n);
    }
    for (ValueId out : effective_outputs(graph, plan, static_cast<int>(n))) {
      if (every_edge && own.rule->needs_quantized_output) plan.values[out].quantized = true;
      if (!every_edge && own.role == QuantRole::kTransport) plan.values[out].on_grid = true;
    }
  }
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    ValuePlan& value = plan.values[v];
    if (!value.quantized && !value.on_grid) continue;
    const int maker = makers[v];
    value.replaces = maker >= 0 && plan.nodes[maker].quantized;
    const int owner = maker >= 0 ? maker : first_reader[v];
    if (owner < 0) continue;
    const ActivationChoice choice = activation_choice(recipe, *plan.target, graph.nodes[owner].name, graph.nodes[owner].op_type);
    value.storage_type = choice.storage_type;
    value.symmetric = choice.symmetric;
    value.observer = choice.observer;
  }
}

namespace {

// A dropped Relu or Clip relies on its own range; sharing a wider one would let values through that it cut off.
void detach_folded(const Graph& graph, const Ranges& ranges, Plan& plan) {
  std::map<int, calibration::Range> covered;
  for (const auto& [id, range] : ranges) {
    if (plan.values[id].group < 0) continue;
    calibration::Range& whole = covered[plan.values[id].group];
    whole.min = std::min(whole.min, range.min);
    whole.max = std::max(whole.max, range.max);
  }
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!plan.nodes[n].folded) continue;
    const ValueId out = graph.nodes[n].output(0);
    const int group = plan.values[out].group;
    if (group < 0 || !covered.contains(group)) continue;
    const auto [low, high] = activation_bounds(graph, graph.nodes[n]);
    const calibration::Range& whole = covered[group];
    if (whole.min >= low && whole.max <= high) continue;
    int members = 0;
    for (const ValuePlan& value : plan.values) members += value.group == group;
    // A group number is a value id, so this one is free unless `out` itself stands for the group.
    if (members == 1) continue;
    plan.values[out].group = static_cast<int>(graph.values.size()) + static_cast<int>(n);
  }
}

}  // namespace

void share_parameters(const Graph& graph, const Ranges* ranges, Plan& plan) {
  const Uses uses(graph);
  const std::vector<int> makers = effective_makers(graph, plan);
  UnionFind sets(graph.values.size());
  const auto placed = [&](ValueId id) { return id != kNoValue && (plan.values[id].quantized || plan.values[id].on_grid); };
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const NodePlan& own = plan.nodes[n];
    if (!own.quantized || own.folded) continue;
    if (own.role == QuantRole::kTransport) {
      for (ValueId out : node.outputs) {
        if (placed(out) && placed(node.inputs[0])) sets.merge(node.inputs[0], out);
      }
    } else if (node.op_type == "Concat") {
      // Requantizing a value that only this Concat reads would round it twice and save nothing.
      for (ValueId id : node.inputs) {
        const int maker = makers[id];
        const bool own_value = maker >= 0 && plan.nodes[maker].quantized && plan.nodes[maker].role != QuantRole::kTransport &&
                               uses.readers[id].size() == 1 && !uses.is_output[id];
        const bool aligned = plan.target->placement == targets::Placement::kInputs && maker >= 0;
        if (placed(id) && placed(node.outputs[0]) && (own_value || aligned)) sets.merge(id, node.outputs[0]);
      }
    }
  }
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (!placed(static_cast<ValueId>(v)) || graph.values[v].constant) continue;
    ValuePlan& value = plan.values[v];
    value.group = sets.find(static_cast<int>(v));
    const ValuePlan& first = plan.values[value.group];
    value.storage_type = first.storage_type;
    value.symmetric = first.symmetric;
    value.observer = first.observer;
  }
  if (ranges != nullptr) detach_folded(graph, *ranges, plan);
}

}  // namespace narrow::quantizers::static_int8
