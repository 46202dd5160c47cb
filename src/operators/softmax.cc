// Softmax, LogSoftmax and Hardmax, along one axis (the meaning since opset 13).
#include "kernels/softmax/softmax.h"

#include <fmt/format.h>

#include <array>

#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Node;
using kernels::SoftmaxKind;

Result<std::size_t> resolve_axis(const Node& node, int rank) {
  const std::int64_t axis = node.get_int("axis", -1);
  if (rank == 0 && (axis == -1 || axis == 0)) return std::size_t{0};
  if (axis >= -rank && axis < rank) return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
  return corrupt(fmt::format("node '{}' ({}): axis is {}, expected {} to {}", node.name, node.op_type, axis, -rank, rank - 1));
}

Status infer_softmax(InferContext& context) {
  const graph::Type& x = context.input(0);
  if (x.ranked) {
    NARROW_TRY([[maybe_unused]] const std::size_t axis, resolve_axis(context.node(), x.rank()));
  }
  context.set_output(0, x);
  return {};
}

Status run_softmax(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const std::size_t axis, resolve_axis(node, x.rank()));
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), x.shape()));
  if (y.size() == 0) return {};
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < x.shape().size(); ++i) (i < axis ? outer : i > axis ? inner : outer) *= i == axis ? 1 : x.shape()[i];
  const std::int64_t n = x.rank() == 0 ? 1 : x.shape()[axis];
  const SoftmaxKind kind = node.op_type == "Softmax"      ? SoftmaxKind::kSoftmax
                           : node.op_type == "LogSoftmax" ? SoftmaxKind::kLogSoftmax
                                                          : SoftmaxKind::kHardmax;
  kernels::softmax_f32(kind, source.data(), outer, n, inner, y.data(), context.pool());
  y.store();
  return {};
}

constexpr QuantRule kSoftmaxRule = {.role = QuantRole::kFollow, .fixed_output = std::pair{0.0f, 1.0f}};

const std::array kOperators = {
    Operator{.name = "Softmax", .since = 13, .infer = infer_softmax, .run = run_softmax, .quant = kSoftmaxRule, .flags = kInPlace},
    Operator{.name = "LogSoftmax", .since = 13, .infer = infer_softmax, .run = run_softmax, .flags = kInPlace},
    Operator{.name = "Hardmax", .since = 13, .infer = infer_softmax, .run = run_softmax, .flags = kInPlace},
};

}  // namespace

std::span<const Operator> softmax_operators() { return kOperators; }

}  // namespace narrow::operators
