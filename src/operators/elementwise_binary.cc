// Arithmetic on two or more tensors that broadcast together.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "operators/broadcast.h"
#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using kernels::BinaryF32;

// ---- the functions --------------------------------------------------------------------------------------------------
// Integer arithmetic wraps; an integer divided by zero gives 0, where the standard leaves the result open.

struct Add {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kAdd;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) + static_cast<Wrapping<C>>(b));
    else return a + b;
  }
};
struct Sub {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kSubtract;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) - static_cast<Wrapping<C>>(b));
    else return a - b;
  }
};
struct Mul {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kMultiply;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) * static_cast<Wrapping<C>>(b));
    else return a * b;
  }
};
struct Div {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kDivide;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<C>) {
        if (b == C(-1)) return Sub::of(C{0}, a);  // the smallest number has no negative
      }
      return static_cast<C>(a / b);
    } else {
      return a / b;
    }
  }
};
// A NaN in either operand is the result.
struct Max {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kMax;
  template <typename C> static C of(C a, C b) { return a != a || a > b ? a : b; }
};
struct Min {
  static constexpr std::optional<BinaryF32> kernel = BinaryF32::kMin;
  template <typename C> static C of(C a, C b) { return a != a || a < b ? a : b; }
};
// Sign of the divisor, as Python's %.
struct FloorMod {
  static constexpr std::optional<BinaryF32> kernel = std::nullopt;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<C>) {
        if (b == C(-1)) return 0;
      }
      const C r = static_cast<C>(a % b);
      return r != 0 && ((r < 0) != (b < 0)) ? static_cast<C>(r + b) : r;
    } else {
      const C r = std::fmod(a, b);
      if (r == 0) return std::copysign(r, b);
      return (r < 0) != (b < 0) ? r + b : r;
    }
  }
};
// Sign of the dividend, as C's fmod.
struct TruncMod {
  static constexpr std::optional<BinaryF32> kernel = std::nullopt;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<C>) {
        if (b == C(-1)) return 0;
      }
      return static_cast<C>(a % b);
    } else {
      return std::fmod(a, b);
    }
  }
};
struct Pow {
  static constexpr std::optional<BinaryF32> kernel = std::nullopt;
  template <typename C>
  static C of(C a, C b) {
    if constexpr (std::is_integral_v<C>) {
      // Exact by squaring; a negative power of an integer is 0 unless the base is 1 or -1.
      if constexpr (std::is_signed_v<C>) {
        if (b < 0) return a == 1 ? 1 : a == C(-1) ? ((b & 1) != 0 ? C(-1) : C(1)) : C(0);
      }
      Wrapping<C> result = 1, square = static_cast<Wrapping<C>>(a);
      for (auto left = static_cast<std::make_unsigned_t<C>>(b); left != 0; left >>= 1) {
        if ((left & 1) != 0) result *= square;
        square *= square;
      }
      return static_cast<C>(result);
    } else {
      if (b == C{2}) return a * a;
      if (b == C(0.5)) return a == -INFINITY ? C(INFINITY) : std::sqrt(a + C{0});
      return std::pow(a, b);
    }
  }
};

// ---- type rules -----------------------------------------------------------------------------------------------------

// Any number of inputs of one type, broadcast.
Status infer_variadic(InferContext& context, DTypeSet allowed, bool same_type = true) {
  std::vector<std::size_t> all;
  std::vector<const Type*> types;
  for (std::size_t i = 0; i < context.node().inputs.size(); ++i) {
    NARROW_RETURN_IF_ERROR(check_dtype(context, i, allowed));
    all.push_back(i);
    types.push_back(&context.input(i));
  }
  if (!same_type) all.resize(1);
  NARROW_TRY(const DType dtype, common_dtype(context, all));
  NARROW_TRY(const auto dims, broadcast_types(context.node(), types));
  if (dtype == DType::kUndefined) return {};
  context.set_output(0, dims ? Type::tensor(dtype, *dims) : Type::tensor(dtype));
  return {};
}

template <DTypeSet allowed>
Status infer_arithmetic(InferContext& context) { return infer_variadic(context, allowed); }

// The same, and what it does to shapes that the graph computes.
template <Dim (*f)(const Dim&, const Dim&)>
Status infer_shape_arithmetic(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_variadic(context, kNumericTypes));
  const auto a = context.dims_value(0);
  const auto b = context.dims_value(1);
  if (!a || !b || a->empty() || b->empty()) return {};
  if (a->size() != b->size() && a->size() != 1 && b->size() != 1) return {};
  std::vector<Dim> out;
  for (std::size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
    out.push_back(f((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]));
  }
  context.set_dims_value(0, std::move(out));
  return {};
}

Status infer_pow(InferContext& context) { return infer_variadic(context, kNumericTypes, false); }

Status infer_mod(InferContext& context) { return infer_variadic(context, kNumericTypes); }

// ---- running --------------------------------------------------------------------------------------------------------

template <typename Function, typename T>
void loop(const T* a, std::int64_t a_step, const T* b, std::int64_t b_step, T* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = store<T>(Function::of(load(a[i * a_step]), load(b[i * b_step])));
}

// y = f(a, b) over the output's shape; a, b and y of one type.
template <typename Function>
void apply(const Tensor& a, const Tensor& b, Tensor& y, base::ThreadPool& pool) {
  const Shape* shapes[] = {&a.shape(), &b.shape()};
  const BroadcastPlan plan = plan_broadcast(y.shape(), shapes);
  const BroadcastPlan::Offsets steps = plan.inner_strides;
  if constexpr (Function::kernel.has_value()) {
    if (y.dtype() == DType::kF32) {
      const kernels::BinaryF32Function f = kernels::binary_f32(*Function::kernel);
      for_each_run(plan, pool, [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
        f(pointer<float>(a) + from[0], static_cast<int>(steps[0]), pointer<float>(b) + from[1],
          static_cast<int>(steps[1]), pointer<float>(y) + at, static_cast<std::size_t>(n));
      });
      return;
    }
  }
  dispatch(NumericList{}, y.dtype(), [&]<typename T>() {
    for_each_run(plan, pool, [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
      loop<Function, T>(pointer<T>(a) + from[0], steps[0], pointer<T>(b) + from[1], steps[1], pointer<T>(y) + at, n);
    });
  });
}

Status check_operands(const Node& node, const RunContext& context) {
  const DType dtype = context.input(0).dtype();
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    const DType found = context.input(i).dtype();
    if (found != dtype || !contains(kNumericTypes, found)) return dtype_error(node, found);
  }
  return {};
}

template <typename Function>
Status run_binary(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(check_operands(node, context));
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  const Shape* shapes[] = {&a.shape(), &b.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(Tensor * y, context.output(0, a.dtype(), shape));
  apply<Function>(a, b, *y, context.pool());
  return {};
}

// Pow's exponent may be of another type than its base; the result is of the base's type.
Status run_pow(const Node& node, RunContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  const bool square = a.dtype() == DType::kF32 && b.size() == 1 && b.rank() <= a.rank() &&
                      contains(kNumericTypes, b.dtype()) && b.at_as_double(0) == 2;
  if (a.dtype() == b.dtype() && !square) return run_binary<Pow>(node, context);
  if (!contains(kNumericTypes, a.dtype())) return dtype_error(node, a.dtype());
  if (!contains(kNumericTypes, b.dtype())) return dtype_error(node, b.dtype());
  const Shape* shapes[] = {&a.shape(), &b.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(Tensor * y, context.output(0, a.dtype(), shape));
  if (square) {
    apply<Mul>(a, a, *y, context.pool());
    return {};
  }
  const BroadcastPlan plan = plan_broadcast(shape, shapes);
  dispatch(NumericList{}, a.dtype(), [&]<typename T>() {
    for_each_run(plan, context.pool(), [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
      const T* base = pointer<T>(a) + from[0];
      T* out = pointer<T>(*y) + at;
      for (std::int64_t i = 0; i < n; ++i) {
        const Compute<T> x = load(base[i * plan.inner_strides[0]]);
        const double e = b.at_as_double(from[1] + i * plan.inner_strides[1]);
        if constexpr (std::is_integral_v<Compute<T>>) {
          // Whole exponents are exact; others go through double and are cut to the type's range.
          const double limit = static_cast<double>(std::numeric_limits<T>::max());
          if (e >= 0 && e == std::floor(e) && e <= limit) out[i] = Pow::of(x, static_cast<T>(e));
          else {
            const double r = std::pow(static_cast<double>(x), e);
            out[i] = !(r > static_cast<double>(std::numeric_limits<T>::min())) ? (r != r ? T{0} : std::numeric_limits<T>::min())
                     : r >= limit ? std::numeric_limits<T>::max() : static_cast<T>(r);
          }
        } else {
          out[i] = store<T>(Pow::of(x, static_cast<Compute<T>>(e)));
        }
      }
    });
  });
  return {};
}

Status run_mod(const Node& node, RunContext& context) {
  return node.get_int("fmod", 0) != 0 ? run_binary<TruncMod>(node, context) : run_binary<FloorMod>(node, context);
}

// Folds any number of inputs into the output from left to right.
template <typename Function>
Result<Tensor*> fold_inputs(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(check_operands(node, context));
  std::vector<const Shape*> shapes;
  for (std::size_t i = 0; i < context.input_count(); ++i) shapes.push_back(&context.input(i).shape());
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(Tensor * y, context.output(0, context.input(0).dtype(), shape));
  if (shapes.size() == 1) {
    if (y->bytes() != 0) std::memcpy(y->mutable_raw(), context.input(0).raw(), y->bytes());
    return y;
  }
  apply<Function>(context.input(0), context.input(1), *y, context.pool());
  for (std::size_t i = 2; i < shapes.size(); ++i) apply<Function>(*y, context.input(i), *y, context.pool());
  return y;
}

template <typename Function>
Status run_variadic(const Node& node, RunContext& context) {
  NARROW_TRY([[maybe_unused]] Tensor * y, fold_inputs<Function>(node, context));
  return {};
}

Status run_mean(const Node& node, RunContext& context) {
  if (!contains(kFloatTypes, context.input(0).dtype())) return dtype_error(node, context.input(0).dtype());
  NARROW_TRY(Tensor * y, fold_inputs<Add>(node, context));
  dispatch(FloatList{}, y->dtype(), [&]<typename T>() {
    const auto count = static_cast<Compute<T>>(context.input_count());
    T* out = pointer<T>(*y);
    for (std::int64_t i = 0; i < y->size(); ++i) out[i] = store<T>(load(out[i]) / count);
  });
  return {};
}

constexpr QuantRule kTwoInputs = {.role = QuantRole::kFollow, .data_inputs = 0b11};
constexpr QuantRule kAllInputs = {.role = QuantRole::kFollow, .all_inputs = true};

constexpr Operator binary(std::string_view name, int since, Status (*infer)(InferContext&), RunFunction run,
                          QuantRule quant = {}) {
  return {.name = name, .since = since, .min_inputs = 2, .max_inputs = 2, .infer = infer, .run = run, .quant = quant,
          .flags = kInPlace};
}

// Not in place: the output is written before the last inputs are read.
constexpr Operator variadic(std::string_view name, int since, Status (*infer)(InferContext&), RunFunction run) {
  return {.name = name, .since = since, .min_inputs = 1, .max_inputs = -1, .infer = infer, .run = run,
          .quant = kAllInputs};
}

const std::array kOperators = {
    binary("Add", 14, infer_shape_arithmetic<add_dims>, run_binary<Add>, kTwoInputs),
    binary("Sub", 14, infer_shape_arithmetic<subtract_dims>, run_binary<Sub>, kTwoInputs),
    binary("Mul", 14, infer_shape_arithmetic<multiply_dims>, run_binary<Mul>, kTwoInputs),
    binary("Div", 14, infer_shape_arithmetic<divide_dims>, run_binary<Div>, kTwoInputs),
    binary("Pow", 15, infer_pow, run_pow),
    binary("Mod", 28, infer_mod, run_mod),
    variadic("Max", 13, infer_arithmetic<kNumericTypes>, run_variadic<Max>),
    variadic("Min", 13, infer_arithmetic<kNumericTypes>, run_variadic<Min>),
    variadic("Sum", 13, infer_arithmetic<kFloatTypes>, run_variadic<Add>),
    variadic("Mean", 13, infer_arithmetic<kFloatTypes>, run_mean),
};

}  // namespace

std::span<const Operator> elementwise_binary_operators() { return kOperators; }

}  // namespace narrow::operators
