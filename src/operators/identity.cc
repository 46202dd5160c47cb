// Operators that pass their input on: Identity and Dropout (which is Identity when a model is not being trained).
#include <array>
#include <cstring>

#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

Status infer_identity(InferContext& context) {
  context.set_output(0, context.input(0));
  if (auto dims = context.dims_value(0)) context.set_dims_value(0, *dims);
  return {};
}

Status infer_dropout(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_identity(context));
  graph::Type mask = context.input(0);
  if (mask.kind == graph::TypeKind::kTensor) mask.dtype = DType::kBool;
  if (context.node().output(1) != graph::kNoValue) context.set_output(1, mask);
  return {};
}

Status run_identity(const graph::Node&, RunContext& context) {
  context.set_value(0, context.value(0));
  return {};
}

Status run_dropout(const graph::Node& node, RunContext& context) {
  const bool training = context.has_input(2) && context.input(2).dtype() == DType::kBool && context.input(2).size() == 1 &&
                        *pointer<std::uint8_t>(context.input(2)) != 0;
  const bool drops = !context.has_input(1) || context.input(1).size() != 1 || context.input(1).at_as_double(0) != 0;
  if (training && drops) {
    return unsupported(fmt::format("{}: Dropout in training mode; export the model for inference", where(node)));
  }
  context.set_output(0, context.input(0));
  if (context.wants_output(1)) {
    NARROW_TRY(Tensor * mask, context.output(1, DType::kBool, context.input(0).shape()));
    std::memset(mask->mutable_raw(), 1, mask->bytes());
  }
  return {};
}

constexpr QuantRule kTransportRule = {.role = QuantRole::kTransport};

const std::array kOperators = {
    Operator{.name = "Identity", .since = 24, .infer = infer_identity, .run = run_identity,
             .quant = kTransportRule, .flags = kAliasesInput | kTakesValues},
    Operator{.name = "Dropout", .since = 22, .max_inputs = 3, .max_outputs = 2, .infer = infer_dropout,
             .run = run_dropout, .quant = kTransportRule, .flags = kAliasesInput},
};

}  // namespace

std::span<const Operator> identity_operators() { return kOperators; }

}  // namespace narrow::operators
