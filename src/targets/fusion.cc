#include "targets/fusion.h"

#include <fmt/format.h>

#include "base/text.h"

namespace narrow::targets {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

class Simulation {
 public:
  Simulation(const Graph& graph, const Target& target) : graph_(graph), target_(target), uses_(graph) {}

  const Node* maker(ValueId id) const {
    return id == kNoValue || uses_.producer[id] < 0 ? nullptr : &graph_.nodes[uses_.producer[id]];
  }
  bool dequantized(ValueId id) const {
    const Node* node = maker(id);
    return node != nullptr && node->is("DequantizeLinear");
  }
  bool dequantized_activation(ValueId id) const { return dequantized(id) && graph_.constant(maker(id)->input(0)) == nullptr; }

  // Every reader is QuantizeLinear and the value leaves the graph only so.
  bool only_quantized(ValueId id) const {
    if (uses_.is_output[id] || uses_.readers[id].empty()) return false;
    for (const Uses::Use& use : uses_.readers[id]) {
      if (use.input != 0 || !graph_.nodes[use.node].is("QuantizeLinear")) return false;
    }
    return true;
  }
  bool any_quantized(ValueId id) const {
    for (const Uses::Use& use : uses_.readers[id]) {
      if (use.input == 0 && graph_.nodes[use.node].is("QuantizeLinear")) return true;
    }
    return false;
  }

  // The values through which what this node computes gets back into integers, float operators in between passed over.
  std::vector<ValueId> quantized_behind(int start) const {
    std::vector<ValueId> found;
    std::vector<int> waiting{start};
    std::vector<bool> seen(graph_.nodes.size(), false);
    seen[start] = true;
    while (!waiting.empty()) {
      const int n = waiting.back();
      waiting.pop_back();
      for (ValueId id : graph_.nodes[n].outputs) {
        if (id == kNoValue) continue;
        if (any_quantized(id)) found.push_back(id);
        for (const Uses::Use& use : uses_.readers[id]) {
          if (seen[use.node] || graph_.nodes[use.node].is("QuantizeLinear")) continue;
          seen[use.node] = true;
          waiting.push_back(use.node);
        }
      }
    }
    return found;
  }

  std::string why_float(const Node& node) const {
    const OperatorRule* rule = node.domain.empty() ? target_.find(node.op_type) : nullptr;
    if (rule == nullptr) return fmt::format("{} has no integer kernel", node.op_type);
    if (rule->refuses != nullptr) {
      const std::string_view reason = rule->refuses(graph_, node);
      if (!reason.empty()) return std::string(reason);
    }
    const operators::Operator* op = operators::find_operator("", node.op_type);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId id = node.inputs[i];
      if (id == kNoValue || graph_.value(id).type.dtype != DType::kF32 || dequantized(id)) continue;
      const bool bias = op != nullptr && op->quant.bias_input == static_cast<int>(i) && target_.bias == BiasRule::kFloat;
      const bool data = op == nullptr || op->quant.all_inputs || op->quant.role == operators::QuantRole::kCompute ||
                        (op->quant.data_inputs == 0 ? i == 0 : i < 32 && ((op->quant.data_inputs >> i) & 1u) != 0);
      if (data && !bias && !rule->shortcut_only) return fmt::format("its input '{}' is not quantized", base::escape_controls(graph_.value(id).name));
    }
    if (rule->needs_quantized_output) {
      for (ValueId id : node.outputs) {
        if (id != kNoValue && !only_quantized(id)) return fmt::format("its output '{}' is not quantized", base::escape_controls(graph_.value(id).name));
      }
    }
    return "";
  }

 private:
  const Graph& graph_;
  const Target& target_;
  const Uses uses_;
};

double elements(const Graph& graph, ValueId id) {
  double count = 1;
  for (const graph::Dim& dim : graph.value(id).type.dims) count *= dim.known() ? static_cast<double>(dim.size) : 1.0;
  return count;
}

}  // namespace

std::vector<FusedNode> simulate_fusion(const Graph& graph, const Target& target) {
  const Simulation simulation(graph, target);
  std::vector<FusedNode> result;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.is("QuantizeLinear") || node.is("DequantizeLinear") || node.is("Shape") || node.is("Size")) continue;
    bool reads = false;
    for (ValueId id : node.inputs) reads = reads || simulation.dequantized_activation(id);
    if (!reads) continue;
    std::string reason = simulation.why_float(node);
    const bool integer = reason.empty();
    result.push_back({static_cast<int>(n), integer, std::move(reason)});
  }
  return result;
}

std::vector<std::string> describe_islands(const Graph& graph, const Target& target) {
  const Simulation simulation(graph, target);
  std::vector<std::string> sentences;
  // Where layers leave their results in float anyway, a float operator between them converts nothing.
  if (target.placement != Placement::kEveryEdge) return sentences;
  for (const FusedNode& fused : simulate_fusion(graph, target)) {
    if (fused.integer) continue;
    const Node& node = graph.nodes[fused.node];
    double converted = 0;
    for (ValueId id : simulation.quantized_behind(fused.node)) converted += elements(graph, id);
    if (converted == 0) continue;
    for (ValueId id : node.inputs) {
      if (simulation.dequantized_activation(id)) converted += elements(graph, id);
    }
    sentences.push_back(fmt::format("'{}' ({}) runs in float between integer layers on {}: {}; {:.0f} values are converted each run",
                                    base::escape_controls(node.name), node.op_type, target.name, fused.why_not, converted));
  }
  return sentences;
}

}  // namespace narrow::targets
