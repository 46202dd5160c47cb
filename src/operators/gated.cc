// SwiGLU: one input times the Swish of the other.
#include <array>
#include <cmath>

#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;

Status infer_swiglu(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 1}));
  graph::Type y = context.input(0);
  const graph::Type& b = context.input(1);
  if (!y.ranked) y = b;
  for (int d = 0; d < y.rank() && b.ranked; ++d) {
    if (b.rank() != y.rank()) return corrupt(fmt::format("{}: {} times {}", where(context.node()), graph::to_string(context.input(0)), graph::to_string(b)));
    NARROW_TRY(y.dims[d], unify_dims(context.node(), y.dims[d], b.dims[d], fmt::format("dimension {}", d)));
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_swiglu(const Node& node, RunContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) {
    return invalid_argument(fmt::format("{}: the gate is {}{}, but the value is {}{}", where(node), to_string(a.dtype()), to_string(a.shape()),
                                        to_string(b.dtype()), to_string(b.shape())));
  }
  NARROW_TRY(Tensor * y, context.output(0, a.dtype(), a.shape()));
  const float alpha = node.get_float("alpha", 1.0f);
  const bool known = dispatch(FloatList{}, a.dtype(), [&]<typename T>() {
    const T *gate = pointer<T>(a), *value = pointer<T>(b);
    T* to = pointer<T>(*y);
    parallel_ranges(context.pool(), a.size(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto x = load(gate[i]);
        to[i] = store<T>(x / (1 + std::exp(-alpha * x)) * load(value[i]));
      }
    }, 8);
  });
  return known ? Status() : Status(dtype_error(node, a.dtype()));
}

const std::array kOperators = {
    Operator{.name = "SwiGLU", .since = 28, .min_inputs = 2, .max_inputs = 2, .infer = infer_swiglu, .run = run_swiglu, .flags = kInPlace},
};

}  // namespace

std::span<const Operator> gated_operators() { return kOperators; }

}  // namespace narrow::operators
