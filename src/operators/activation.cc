// Activation functions, with their parameters.
#include <array>
#include <cmath>

#include "operators/broadcast.h"
#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;
using kernels::UnaryF32;

struct Activation : UnaryFunction {
  using Types = FloatList;
  static constexpr std::int64_t cost = 16;
};

UnaryParams read(const Node& node, std::string_view first, float first_default, std::string_view second = {},
                 float second_default = 0) {
  return {node.get_float(first, first_default), second.empty() ? 0.0f : node.get_float(second, second_default)};
}

struct Relu : UnaryFunction {
  using Types = Join<FloatList, SignedList>;
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kRelu;
  template <typename C> static C of(C x, const UnaryParams&) { return x < 0 ? C{0} : x; }
};
struct LeakyRelu : UnaryFunction {
  using Types = FloatList;
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kLeakyRelu;
  static UnaryParams params(const Node& node) { return read(node, "alpha", 0.01f); }
  template <typename C> static C of(C x, const UnaryParams& p) { return x < 0 ? p[0] * x : x; }
};
struct ThresholdedRelu : UnaryFunction {
  using Types = FloatList;
  static UnaryParams params(const Node& node) { return read(node, "alpha", 1.0f); }
  template <typename C> static C of(C x, const UnaryParams& p) { return x > p[0] || x != x ? x : C{0}; }
};
struct Sigmoid : Activation {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kSigmoid;
  template <typename C> static C of(C x, const UnaryParams&) { return C{1} / (C{1} + std::exp(-x)); }
};
struct Tanh : Activation {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kTanh;
  template <typename C> static C of(C x, const UnaryParams&) { return std::tanh(x); }
};
struct Elu : Activation {
  static UnaryParams params(const Node& node) { return read(node, "alpha", 1.0f); }
  template <typename C> static C of(C x, const UnaryParams& p) { return x < 0 ? p[0] * std::expm1(x) : x; }
};
struct Celu : Activation {
  static UnaryParams params(const Node& node) { return read(node, "alpha", 1.0f); }
  template <typename C> static C of(C x, const UnaryParams& p) { return x < 0 ? p[0] * std::expm1(x / p[0]) : x; }
};
struct Selu : Activation {
  static UnaryParams params(const Node& node) {
    return read(node, "alpha", 1.67326319217681884765625f, "gamma", 1.05070102214813232421875f);
  }
  template <typename C> static C of(C x, const UnaryParams& p) { return p[1] * (x < 0 ? p[0] * std::expm1(x) : x); }
};
struct HardSigmoid : UnaryFunction {
  using Types = FloatList;
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kHardSigmoid;
  static UnaryParams params(const Node& node) { return read(node, "alpha", 0.2f, "beta", 0.5f); }
  template <typename C>
  static C of(C x, const UnaryParams& p) {
    const C y = p[0] * x + p[1];
    return y < 0 ? C{0} : y > 1 ? C{1} : y;
  }
};
struct HardSwish : UnaryFunction {
  using Types = FloatList;
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kHardSwish;
  static UnaryParams params(const Node&) { return {1.0f / 6.0f, 0.5f}; }
  template <typename C> static C of(C x, const UnaryParams& p) { return x * HardSigmoid::of(x, p); }
};
// log(1 + e^x), without overflow.
struct Softplus : Activation {
  template <typename C>
  static C of(C x, const UnaryParams&) { return (x > 0 ? x : C{0}) + std::log1p(std::exp(-std::fabs(x))); }
};
struct Softsign : UnaryFunction {
  using Types = FloatList;
  template <typename C> static C of(C x, const UnaryParams&) { return x / (C{1} + std::fabs(x)); }
};
struct Mish : Activation {
  template <typename C> static C of(C x, const UnaryParams& p) { return x * std::tanh(Softplus::of(x, p)); }
};
struct Swish : Activation {
  static UnaryParams params(const Node& node) { return read(node, "alpha", 1.0f); }
  template <typename C> static C of(C x, const UnaryParams& p) { return x / (C{1} + std::exp(-p[0] * x)); }
};
struct Shrink : UnaryFunction {
  using Types = NumericList;
  static UnaryParams params(const Node& node) { return read(node, "bias", 0.0f, "lambd", 0.5f); }
  template <typename C>
  static C of(C x, const UnaryParams& p) {
    if (x < -p[1]) return static_cast<C>(x + p[0]);
    if (x > p[1]) return static_cast<C>(x - p[0]);
    return x != x ? x : C{0};
  }
};

// PRelu: the slope is a tensor that broadcasts to x, never the other way.
Status infer_prelu(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, set_of(NumericList{})));
  NARROW_TRY(const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 1}));
  const graph::Type& x = context.input(0);
  const graph::Type& slope = context.input(1);
  if (x.ranked && slope.ranked) {
    if (slope.rank() > x.rank()) {
      return corrupt(fmt::format("{}: slope {} does not broadcast to x {}", where(context.node()),
                                 graph::to_string(slope), graph::to_string(x)));
    }
    for (int i = 1; i <= slope.rank(); ++i) {
      const graph::Dim& a = x.dims[x.rank() - i];
      const graph::Dim& b = slope.dims[slope.rank() - i];
      if (a.known() && b.known() && b.size != 1 && a.size != b.size) {
        return corrupt(fmt::format("{}: slope {} does not broadcast to x {}", where(context.node()),
                                   graph::to_string(slope), graph::to_string(x)));
      }
    }
  }
  graph::Type out = x;
  if (out.kind == graph::TypeKind::kTensor && out.dtype == DType::kUndefined) out.dtype = dtype;
  context.set_output(0, out);
  return {};
}

Status run_prelu(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& slope = context.input(1);
  if (x.dtype() != slope.dtype()) return dtype_error(node, slope.dtype());
  const Shape* shapes[] = {&x.shape(), &slope.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  if (shape != x.shape()) {
    return invalid_argument(fmt::format("{}: slope {} does not broadcast to x {}", where(node),
                                        to_string(slope.shape()), to_string(x.shape())));
  }
  if (!contains(set_of(NumericList{}), x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  const BroadcastPlan plan = plan_broadcast(shape, shapes);
  dispatch(NumericList{}, x.dtype(), [&]<typename T>() {
    for_each_run(plan, context.pool(), [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
      const T* in = pointer<T>(x) + from[0];
      const T* factor = pointer<T>(slope) + from[1];
      T* out = pointer<T>(*y) + at;
      for (std::int64_t i = 0; i < n; ++i) {
        const Compute<T> v = load(in[i * plan.inner_strides[0]]);
        const Compute<T> s = load(factor[i * plan.inner_strides[1]]);
        if constexpr (std::is_integral_v<Compute<T>>) {
          using W = Wrapping<Compute<T>>;
          out[i] = v < 0 ? static_cast<T>(static_cast<W>(v) * static_cast<W>(s)) : static_cast<T>(v);
        } else {
          out[i] = store<T>(v < 0 ? v * s : v);
        }
      }
    });
  });
  return {};
}

const std::array kOperators = {
    unary_row<Relu>("Relu", 14, kActivationRule),
    unary_row<LeakyRelu>("LeakyRelu", 16, kFollowRule),
    unary_row<ThresholdedRelu>("ThresholdedRelu", 22),
    unary_row<Sigmoid>("Sigmoid", 13, follow_in_range(0, 1)),
    unary_row<Tanh>("Tanh", 13, follow_in_range(-1, 1)),
    unary_row<Elu>("Elu", 22, kFollowRule),
    unary_row<Celu>("Celu", 12, kFollowRule),
    unary_row<Selu>("Selu", 22, kFollowRule),
    unary_row<HardSigmoid>("HardSigmoid", 22, follow_in_range(0, 1)),
    unary_row<HardSwish>("HardSwish", 22, kFollowRule),
    unary_row<Softplus>("Softplus", 22),
    unary_row<Softsign>("Softsign", 22, follow_in_range(-1, 1)),
    unary_row<Mish>("Mish", 22, kFollowRule),
    unary_row<Swish>("Swish", 24, kFollowRule),
    unary_row<Shrink>("Shrink", 9),
    Operator{.name = "PRelu", .since = 16, .min_inputs = 2, .max_inputs = 2, .infer = infer_prelu, .run = run_prelu,
             .quant = {.role = QuantRole::kFollow, .data_inputs = 1}, .flags = kInPlace},
};

}  // namespace

std::span<const Operator> activation_operators() { return kOperators; }

}  // namespace narrow::operators
