// If: one of two subgraphs, chosen by a bool.
#include <array>
#include <cstring>

#include "operators/dispatch.h"
#include "operators/common_shape.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::GraphPtr;
using graph::Node;
using graph::Type;
using graph::TypeKind;

Result<GraphPtr> branch_of(const Node& node, std::string_view name) {
  GraphPtr branch = node.get_graph(name);
  if (branch == nullptr) return corrupt(fmt::format("{}: the attribute {} is missing or no graph", where(node), name));
  if (branch->outputs.size() != node.outputs.size()) {
    return corrupt(fmt::format("{}: {} has {} outputs, expected {}", where(node), name, branch->outputs.size(),
                               node.outputs.size()));
  }
  if (!branch->inputs.empty()) {
    return corrupt(fmt::format("{}: {} has {} inputs, expected none", where(node), name, branch->inputs.size()));
  }
  return branch;
}

// What holds whichever branch runs. Errors: corrupt, when their element types differ.
Result<Type> merged(const Node& node, const Type& a, const Type& b, std::size_t output) {
  if (a.kind == TypeKind::kUnknown || a.kind != b.kind || a.of_sequence != b.of_sequence) return Type();
  if (a.dtype != DType::kUndefined && b.dtype != DType::kUndefined && a.dtype != b.dtype) {
    return corrupt(fmt::format("{}: output {} is {} in one branch and {} in the other", where(node), output,
                               to_string(a.dtype), to_string(b.dtype)));
  }
  return common_shape(a, b);
}

Status infer_if(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kBoolType));
  NARROW_TRY(const GraphPtr then_branch, branch_of(node, "then_branch"));
  NARROW_TRY(const GraphPtr else_branch, branch_of(node, "else_branch"));
  if (const Tensor* condition = context.constant(0); condition != nullptr && condition->size() == 1) {
    // Only the branch that runs need be possible: exporters leave the other one for other input shapes.
    const bool yes = *pointer<std::uint8_t>(*condition) != 0;
    // Its types are of use all the same: a checker compares them with those of the branch that runs.
    const auto unused = context.infer_subgraph(yes ? *else_branch : *then_branch, {});
    (void)unused;
    NARROW_TRY(const auto types, context.infer_subgraph(yes ? *then_branch : *else_branch, {}));
    for (std::size_t i = 0; i < types.size(); ++i) context.set_output(i, types[i]);
    return {};
  }
  NARROW_TRY(const auto a, context.infer_subgraph(*then_branch, {}));
  NARROW_TRY(const auto b, context.infer_subgraph(*else_branch, {}));
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    NARROW_TRY(const Type type, merged(node, a[i], b[i], i));
    context.set_output(i, type);
  }
  return {};
}

class IfKernel final : public Kernel {
 public:
  IfKernel(Node node, std::unique_ptr<Subgraph> then_branch, std::unique_ptr<Subgraph> else_branch)
      : node_(std::move(node)), then_branch_(std::move(then_branch)), else_branch_(std::move(else_branch)) {}

  Status run(RunContext& context) override {
    const Tensor& condition = context.input(0);
    if (condition.dtype() != DType::kBool) return dtype_error(node_, condition.dtype());
    if (condition.size() != 1) {
      return invalid_argument(fmt::format("{}: the condition has shape {}, expected one bool", where(node_),
                                          to_string(condition.shape())));
    }
    Subgraph& chosen = *pointer<std::uint8_t>(condition) != 0 ? *then_branch_ : *else_branch_;
    NARROW_TRY(std::vector<RuntimeValue> outputs, chosen.run({}, context));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!context.wants_output(i)) continue;
      // The branch's memory is used again on its next run.
      if (!outputs[i].is_tensor() || outputs[i].dtype() == DType::kString) {
        context.set_value(i, std::move(outputs[i]));
        continue;
      }
      const Tensor& from = outputs[i].tensor();
      NARROW_TRY(Tensor * y, context.output(i, from.dtype(), from.shape()));
      if (y->bytes() != 0) std::memcpy(y->mutable_raw(), from.raw(), y->bytes());
    }
    return {};
  }

 private:
  Node node_;
  std::unique_ptr<Subgraph> then_branch_, else_branch_;
};

Result<std::unique_ptr<Kernel>> prepare_if(const PrepareContext& context) {
  const Node& node = *context.node;
  if (!context.make_subgraph) return unsupported(fmt::format("{}: a node with subgraphs runs only in a session", where(node)));
  NARROW_TRY(const GraphPtr then_branch, branch_of(node, "then_branch"));
  NARROW_TRY(const GraphPtr else_branch, branch_of(node, "else_branch"));
  NARROW_TRY(auto then_ready, context.make_subgraph(*then_branch));
  NARROW_TRY(auto else_ready, context.make_subgraph(*else_branch));
  return std::unique_ptr<Kernel>(std::make_unique<IfKernel>(node, std::move(then_ready), std::move(else_ready)));
}

const std::array kOperators = {
    Operator{.name = "If", .since = 24, .max_outputs = -1, .infer = infer_if, .prepare = prepare_if},
};

}  // namespace

std::span<const Operator> conditional_operators() { return kOperators; }

}  // namespace narrow::operators
