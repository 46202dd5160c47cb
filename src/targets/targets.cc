#include <fmt/format.h>

#include "base/text.h"
#include "targets/tables.h"

namespace narrow::targets {

// The table: one row a runtime, each in the file of its name.
std::span<const Target> targets() {
  static const Target table[] = {kOnnxRuntime, kTensorRt, kOpenVino};
  return table;
}

const OperatorRule* Target::find(std::string_view op_type) const {
  for (const OperatorRule& rule : operators) {
    if (rule.op_type == op_type) return &rule;
  }
  return nullptr;
}

Result<const Target*> find_target(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Target& target : targets()) {
    if (target.name == name) return &target;
    names.push_back(target.name);
  }
  return invalid_argument(fmt::format("there is no target '{}'{}", base::escape_controls(name), base::did_you_mean(name, names)))
      .hint(fmt::format("targets: {}", fmt::join(names, ", ")));
}

std::string_view refuses_unless_nearest(const graph::Graph&, const graph::Node& node) {
  return node.get_string("mode", "nearest") == "nearest" ? "" : "only nearest-neighbour resizing moves codes unchanged";
}

std::string_view refuses_unless_zero_padding(const graph::Graph& graph, const graph::Node& node) {
  const std::string mode = node.get_string("mode", "constant");
  if (mode == "reflect" || mode == "edge") return "";
  if (mode != "constant") return "this padding mode has no integer form";
  if (node.input(2) == graph::kNoValue) return "";
  const Tensor* fill = graph.constant(node.input(2));
  if (fill == nullptr || fill->dtype() != DType::kF32 || fill->size() != 1 || fill->data<float>()[0] != 0) {
    return "only padding with zeros has a code that is always exact";
  }
  return "";
}

std::string_view refuses_gating_mul(const graph::Graph& graph, const graph::Node& node) {
  // x * Sigmoid(x) is Swish, which these runtimes compute in float behind the layer that makes x.
  for (const graph::Node& other : graph.nodes) {
    if (!other.is("Sigmoid") && !other.is("HardSigmoid")) continue;
    const graph::ValueId gate = other.output(0);
    if ((node.input(0) == gate && node.input(1) == other.input(0)) ||
        (node.input(1) == gate && node.input(0) == other.input(0))) {
      return "part of x * Sigmoid(x), which the target fuses in float";
    }
  }
  return "";
}

}  // namespace narrow::targets
