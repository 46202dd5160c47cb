// Optional, OptionalHasElement, OptionalGetElement: a tensor or sequence that may be absent. One that is there is passed
// on as itself.
#include <array>

#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;
using graph::TypeKind;

bool can_be_optional(const Type& type) { return type.kind == TypeKind::kTensor || type.kind == TypeKind::kSequence; }

Status infer_optional(InferContext& context) {
  const Type* stated = context.node().get_type("type");
  const Type& type = context.has_input(0) || stated == nullptr ? context.input(0) : *stated;
  if (can_be_optional(type)) context.set_output(0, Type::optional(type));
  if (!context.has_input(0) && stated == nullptr) {
    return corrupt(fmt::format("{}: without an input it needs the attribute type", where(context.node())));
  }
  return {};
}

Status run_optional(const Node&, RunContext& context) {
  const RuntimeValue& value = context.value(0);
  context.set_value(0, value.defined() ? value : RuntimeValue::nothing());
  return {};
}

Status infer_has_element(InferContext& context) {
  context.set_output(0, Type::tensor(DType::kBool, std::vector<graph::Dim>{}));
  return {};
}

Status run_has_element(const Node&, RunContext& context) {
  const RuntimeValue& value = context.value(0);
  context.set_output(0, Tensor::scalar(value.is_tensor() || value.is_sequence()));
  return {};
}

Status infer_get_element(InferContext& context) {
  const Type& type = context.input(0);
  context.set_output(0, type.kind == TypeKind::kOptional ? type.element() : type);
  return {};
}

Status run_get_element(const Node& node, RunContext& context) {
  const RuntimeValue& value = context.value(0);
  if (value.is_nothing()) return invalid_argument(fmt::format("{}: the optional has no element", where(node)));
  context.set_value(0, value);
  return {};
}

const std::array kOperators = {
    Operator{.name = "Optional", .since = 15, .min_inputs = 0, .infer = infer_optional, .run = run_optional, .flags = kTakesValues},
    Operator{.name = "OptionalHasElement", .since = 18, .min_inputs = 0, .infer = infer_has_element, .run = run_has_element,
             .flags = kTakesValues},
    Operator{.name = "OptionalGetElement", .since = 18, .infer = infer_get_element, .run = run_get_element, .flags = kTakesValues},
};

}  // namespace

std::span<const Operator> optional_operators() { return kOperators; }

}  // namespace narrow::operators
