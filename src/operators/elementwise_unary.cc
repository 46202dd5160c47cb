// Functions of one element without parameters: rounding, signs, exponentials, trigonometry.
#include <array>
#include <cmath>

#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using kernels::UnaryF32;

template <typename List>
struct Over : UnaryFunction {
  using Types = List;
};
struct OverFloats : Over<FloatList> {
  static constexpr std::int64_t cost = 16;
};

struct Neg : Over<Join<FloatList, SignedList>> {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kNegate;
  template <typename C>
  static C of(C x, const UnaryParams&) {
    if constexpr (std::is_integral_v<C>) return static_cast<C>(Wrapping<C>{0} - static_cast<Wrapping<C>>(x));
    else return -x;
  }
};
struct Abs : Over<NumericList> {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kAbs;
  template <typename C>
  static C of(C x, const UnaryParams& p) {
    if constexpr (std::is_unsigned_v<C>) return x;
    else if constexpr (std::is_integral_v<C>) return x < 0 ? Neg::of(x, p) : x;
    else return std::fabs(x);
  }
};
struct Sign : Over<NumericList> {
  template <typename C>
  static C of(C x, const UnaryParams&) { return x != x ? x : static_cast<C>((x > 0) - (x < 0)); }
};
struct Sqrt : Over<FloatList> {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kSqrt;
  template <typename C> static C of(C x, const UnaryParams&) { return std::sqrt(x); }
};
struct Exp : OverFloats {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kExp;
  template <typename C> static C of(C x, const UnaryParams&) { return std::exp(x); }
};
struct Reciprocal : Over<FloatList> {
  template <typename C> static C of(C x, const UnaryParams&) { return C{1} / x; }
};
struct Floor : Over<FloatList> { template <typename C> static C of(C x, const UnaryParams&) { return std::floor(x); } };
struct Ceil : Over<FloatList> { template <typename C> static C of(C x, const UnaryParams&) { return std::ceil(x); } };
// Half to even: the rounding mode is never changed from its default.
struct Round : Over<FloatList> { template <typename C> static C of(C x, const UnaryParams&) { return std::nearbyint(x); } };
struct Log : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::log(x); } };
struct Erf : OverFloats {
  static constexpr std::optional<UnaryF32> kernel = UnaryF32::kErf;
  template <typename C> static C of(C x, const UnaryParams&) { return std::erf(x); }
};
struct Sin : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::sin(x); } };
struct Cos : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::cos(x); } };
struct Tan : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::tan(x); } };
struct Asin : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::asin(x); } };
struct Acos : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::acos(x); } };
struct Atan : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::atan(x); } };
struct Sinh : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::sinh(x); } };
struct Cosh : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::cosh(x); } };
struct Asinh : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::asinh(x); } };
struct Acosh : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::acosh(x); } };
struct Atanh : OverFloats { template <typename C> static C of(C x, const UnaryParams&) { return std::atanh(x); } };

const std::array kOperators = {
    unary_row<Neg>("Neg", 13, kFollowRule), unary_row<Abs>("Abs", 13, kFollowRule), unary_row<Sign>("Sign", 13),
    unary_row<Sqrt>("Sqrt", 13), unary_row<Exp>("Exp", 13), unary_row<Log>("Log", 13),
    unary_row<Reciprocal>("Reciprocal", 13), unary_row<Floor>("Floor", 13), unary_row<Ceil>("Ceil", 13),
    unary_row<Round>("Round", 22), unary_row<Erf>("Erf", 13), unary_row<Sin>("Sin", 22), unary_row<Cos>("Cos", 22),
    unary_row<Tan>("Tan", 22), unary_row<Asin>("Asin", 22), unary_row<Acos>("Acos", 22), unary_row<Atan>("Atan", 22),
    unary_row<Sinh>("Sinh", 22), unary_row<Cosh>("Cosh", 22), unary_row<Asinh>("Asinh", 22),
    unary_row<Acosh>("Acosh", 22), unary_row<Atanh>("Atanh", 22),
};

}  // namespace

std::span<const Operator> elementwise_unary_operators() { return kOperators; }

}  // namespace narrow::operators
