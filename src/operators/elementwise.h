// Rows of operators that map each element of one tensor by itself.
#pragma once

#include <array>
#include <optional>

#include "kernels/elementwise/elementwise.h"
#include "operators/dispatch.h"

namespace narrow::operators {

using UnaryParams = std::array<float, 2>;

// A function of one element: Types, the element types; of<C>(x, params), where C is what arithmetic is done in; params
// read from the node's attributes; an f32 kernel, if there is one; and a rough cost, 1 being an addition.
struct UnaryFunction {
  static UnaryParams params(const graph::Node&) { return {}; }
  static constexpr std::optional<kernels::UnaryF32> kernel = std::nullopt;
  static constexpr std::int64_t cost = 1;
};

template <typename Function>
Status run_unary(const graph::Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(set_of(typename Function::Types{}), x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  const UnaryParams params = Function::params(node);
  if constexpr (Function::kernel.has_value()) {
    if (x.dtype() == DType::kF32) {
      const kernels::UnaryF32Function f = kernels::unary_f32(*Function::kernel);
      parallel_ranges(context.pool(), x.size(), [&](std::int64_t begin, std::int64_t end) {
        f(pointer<float>(x) + begin, pointer<float>(*y) + begin, static_cast<std::size_t>(end - begin), params.data());
      });
      return {};
    }
  }
  dispatch(typename Function::Types{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), x.size(), [&](std::int64_t begin, std::int64_t end) {
      const T* in = pointer<T>(x);
      T* out = pointer<T>(*y);
      for (std::int64_t i = begin; i < end; ++i) out[i] = store<T>(Function::of(load(in[i]), params));
    }, Function::cost);
  });
  return {};
}

template <typename Function>
constexpr Operator unary_row(std::string_view name, int since, QuantRule quant = {}) {
  return {.name = name, .since = since, .infer = infer_unary<set_of(typename Function::Types{})>,
          .run = run_unary<Function>, .quant = quant, .flags = kInPlace};
}

inline constexpr QuantRule kFollowRule = {.role = QuantRole::kFollow};
inline constexpr QuantRule kActivationRule = {.role = QuantRole::kActivation};
inline constexpr QuantRule kTransportRule = {.role = QuantRole::kTransport};
constexpr QuantRule follow_in_range(float low, float high) {
  return {.role = QuantRole::kFollow, .fixed_output = std::pair(low, high)};
}

}  // namespace narrow::operators
