// Which layers of a model a target can run in integers, from the operators' quantization rules and the target's table.
#include <fmt/format.h>

#include "api/model_impl.h"
#include "narrow/model.h"
#include "operators/operator.h"
#include "targets/target.h"

namespace narrow {
namespace {

std::uint64_t constant_elements(const graph::Graph& graph, const graph::Node& node) {
  std::uint64_t total = 0;
  for (const graph::ValueId id : node.inputs) {
    const Tensor* constant = graph.constant(id);
    if (constant != nullptr && is_float(constant->dtype())) total += static_cast<std::uint64_t>(constant->size());
  }
  return total;
}

// Empty when the target runs the node in integers.
std::string why_float(const graph::Graph& graph, const graph::Node& node, const targets::Target& target) {
  const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
  if (op == nullptr) return "an operator that narrow does not know";
  if (op->quant.role == operators::QuantRole::kNone) return fmt::format("{} has no integer form", node.op_type);
  const targets::OperatorRule* rule = target.find(node.op_type);
  if (rule == nullptr) return fmt::format("{} has no integer kernel for {}", target.name, node.op_type);
  if (rule->refuses != nullptr) {
    if (const std::string_view reason = rule->refuses(graph, node); !reason.empty()) return std::string(reason);
  }
  if (op->quant.role == operators::QuantRole::kCompute && op->quant.weight_input >= 0) {
    const graph::ValueId weight = node.input(static_cast<std::size_t>(op->quant.weight_input));
    if (weight == graph::kNoValue) return "it has no weight";
    const graph::Type& type = graph.value(weight).type;
    if (graph.constant(weight) != nullptr && type.dtype != DType::kF32 && type.dtype != DType::kF16) {
      return fmt::format("its weight is {}, not float", to_string(type.dtype));
    }
  }
  const graph::ValueId data = node.input(0);
  if (data != graph::kNoValue && !graph.value(data).type.ranked) return "the shape of its input is not known";
  return {};
}

}  // namespace

Result<std::vector<LayerPlan>> Model::plan_for(const std::string& target_name) const {
  NARROW_TRY(const targets::Target* target, targets::find_target(target_name));
  const graph::Graph& graph = impl_->typed().graph;
  std::vector<LayerPlan> plan;
  for (const graph::Node& node : graph.nodes) {
    const std::uint64_t parameters = constant_elements(graph, node);
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    const bool computes = op != nullptr && op->quant.role == operators::QuantRole::kCompute;
    if (!computes && parameters < 2) continue;
    LayerPlan layer{node.name, node.op_type, false, why_float(graph, node, *target), parameters};
    layer.quantizable = layer.reason.empty();
    plan.push_back(std::move(layer));
  }
  return plan;
}

}  // namespace narrow
