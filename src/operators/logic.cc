// Comparisons, logic on bool, and bit operations.
#include <array>
#include <cmath>

#include "operators/broadcast.h"
#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;

struct Equal { template <typename C> static auto of(C a, C b) { return a == b; } };
struct Less { template <typename C> static auto of(C a, C b) { return a < b; } };
struct LessOrEqual { template <typename C> static auto of(C a, C b) { return a <= b; } };
struct Greater { template <typename C> static auto of(C a, C b) { return a > b; } };
struct GreaterOrEqual { template <typename C> static auto of(C a, C b) { return a >= b; } };
struct LogicalAnd { template <typename C> static auto of(C a, C b) { return a && b; } };
struct LogicalOr { template <typename C> static auto of(C a, C b) { return a || b; } };
struct LogicalXor { template <typename C> static auto of(C a, C b) { return a != b; } };
struct BitAnd { template <typename C> static C of(C a, C b) { return static_cast<C>(a & b); } };
struct BitOr { template <typename C> static C of(C a, C b) { return static_cast<C>(a | b); } };
struct BitXor { template <typename C> static C of(C a, C b) { return static_cast<C>(a ^ b); } };
// Shifting by a negative number, or by the width or more, leaves copies of the sign, and nothing to the left.
template <typename C>
bool within_width(C b) { return static_cast<std::make_unsigned_t<C>>(b) < sizeof(C) * 8; }
struct ShiftLeft {
  template <typename C>
  static C of(C a, C b) { return within_width(b) ? static_cast<C>(static_cast<Wrapping<C>>(a) << b) : C{0}; }
};
struct ShiftRight {
  template <typename C>
  static C of(C a, C b) { return static_cast<C>(within_width(b) ? a >> b : std::is_signed_v<C> && a < 0 ? -1 : 0); }
};

// Result: bool when `to_bool`, else the operands' type.
template <DTypeSet allowed, bool to_bool>
Status infer_pair(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, allowed));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, allowed));
  NARROW_TRY(DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 1}));
  const Type* types[] = {&context.input(0), &context.input(1)};
  NARROW_TRY(const auto dims, broadcast_types(context.node(), types));
  if (to_bool) dtype = DType::kBool;
  if (dtype == DType::kUndefined) return {};
  context.set_output(0, dims ? Type::tensor(dtype, *dims) : Type::tensor(dtype));
  return {};
}

// Equal on shapes that the graph computes: exporters compare them to -1, which no dimension is. The answers are dims
// too: 1 and 0.
Status infer_equal(InferContext& context) {
  NARROW_RETURN_IF_ERROR((infer_pair<kNumericTypes | kBoolType | set_of({DType::kString}), true>(context)));
  const auto a = context.dims_value(0), b = context.dims_value(1);
  if (!a || !b || a->empty() || b->empty() || (a->size() != b->size() && a->size() != 1 && b->size() != 1)) return {};
  const auto numbers_a = known_integers(context, 0), numbers_b = known_integers(context, 1);
  const auto negative = [](const auto& numbers, std::size_t i) { return numbers && (*numbers)[i] < 0; };
  const auto dimension = [](const graph::Dim& dim) { return dim.known() || !dim.symbol.empty(); };
  std::vector<graph::Dim> out;
  for (std::size_t i = 0; i < std::max(a->size(), b->size()); ++i) {
    const std::size_t p = a->size() == 1 ? 0 : i, q = b->size() == 1 ? 0 : i;
    const graph::Dim &x = (*a)[p], &y = (*b)[q];
    if (x.known() && y.known()) out.emplace_back(x.size == y.size ? 1 : 0);
    else if (x.same(y)) out.emplace_back(1);
    else if ((negative(numbers_a, p) && dimension(y)) || (negative(numbers_b, q) && dimension(x))) out.emplace_back(0);
    else out.emplace_back();
  }
  context.set_dims_value(0, std::move(out));
  return {};
}

Status run_equal_strings(const Tensor& a, const Tensor& b, Tensor& y, const BroadcastPlan& plan, base::ThreadPool& pool) {
  for_each_run(plan, pool, [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      pointer<Bool8>(y)[at + i] = store<Bool8>(a.strings()[from[0] + i * plan.inner_strides[0]] ==
                                               b.strings()[from[1] + i * plan.inner_strides[1]]);
    }
  });
  return {};
}

template <typename Function, typename List, bool to_bool>
Status run_pair(const Node& node, RunContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  const bool strings = std::is_same_v<Function, Equal> && a.dtype() == DType::kString;
  if (a.dtype() != b.dtype()) return dtype_error(node, b.dtype());
  if (!strings && !contains(set_of(List{}), a.dtype())) return dtype_error(node, a.dtype());
  const Shape* shapes[] = {&a.shape(), &b.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(Tensor * y, context.output(0, to_bool ? DType::kBool : a.dtype(), shape));
  const BroadcastPlan plan = plan_broadcast(shape, shapes);
  if (strings) return run_equal_strings(a, b, *y, plan, context.pool());
  dispatch(List{}, a.dtype(), [&]<typename T>() {
    using Out = std::conditional_t<to_bool, Bool8, T>;
    for_each_run(plan, context.pool(), [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
      const T* left = pointer<T>(a) + from[0];
      const T* right = pointer<T>(b) + from[1];
      Out* out = pointer<Out>(*y) + at;
      for (std::int64_t i = 0; i < n; ++i) {
        out[i] = store<Out>(Function::of(load(left[i * plan.inner_strides[0]]), load(right[i * plan.inner_strides[1]])));
      }
    });
  });
  return {};
}

Status infer_shift(InferContext& context) {
  const std::string direction = context.node().get_string("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    return corrupt(fmt::format("{}: direction is '{}', expected 'LEFT' or 'RIGHT'", where(context.node()), direction));
  }
  return infer_pair<kIntegerTypes, false>(context);
}

Status run_shift(const Node& node, RunContext& context) {
  return node.get_string("direction", "") == "LEFT" ? run_pair<ShiftLeft, IntegerList, false>(node, context)
                                                    : run_pair<ShiftRight, IntegerList, false>(node, context);
}

struct Not : UnaryFunction {
  using Types = BoolList;
  static bool of(bool x, const UnaryParams&) { return !x; }
};
struct BitwiseNot : UnaryFunction {
  using Types = IntegerList;
  template <typename C> static C of(C x, const UnaryParams&) { return static_cast<C>(~x); }
};

// Tests of one element with a bool for an answer.
Status infer_test(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  Type type = context.input(0);
  if (type.kind != graph::TypeKind::kTensor) type = Type::tensor(DType::kBool);
  type.dtype = DType::kBool;
  context.set_output(0, type);
  return {};
}

template <bool infinity>
Status run_test(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * y, context.output(0, DType::kBool, x.shape()));
  const bool negative = node.get_int("detect_negative", 1) != 0;
  const bool positive = node.get_int("detect_positive", 1) != 0;
  dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), x.size(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Compute<T> v = load(pointer<T>(x)[i]);
        const bool yes = infinity ? std::isinf(v) && (v > 0 ? positive : negative) : std::isnan(v);
        pointer<Bool8>(*y)[i] = store<Bool8>(yes);
      }
    });
  });
  return {};
}


template <typename Function>
constexpr Operator comparison(std::string_view name, int since) {
  return {.name = name, .since = since, .min_inputs = 2, .max_inputs = 2, .infer = infer_pair<kNumericTypes, true>,
          .run = run_pair<Function, NumericList, true>};
}
template <typename Function>
constexpr Operator logical(std::string_view name) {
  return {.name = name, .since = 7, .min_inputs = 2, .max_inputs = 2, .infer = infer_pair<kBoolType, true>,
          .run = run_pair<Function, BoolList, true>, .flags = kInPlace};
}
template <typename Function>
constexpr Operator bitwise(std::string_view name) {
  return {.name = name, .since = 18, .min_inputs = 2, .max_inputs = 2, .infer = infer_pair<kIntegerTypes, false>,
          .run = run_pair<Function, IntegerList, false>, .flags = kInPlace};
}

const std::array kOperators = {
    Operator{.name = "Equal", .since = 19, .min_inputs = 2, .max_inputs = 2, .infer = infer_equal,
             .run = run_pair<Equal, NumericOrBoolList, true>},
    comparison<Less>("Less", 13), comparison<LessOrEqual>("LessOrEqual", 16),
    comparison<Greater>("Greater", 13), comparison<GreaterOrEqual>("GreaterOrEqual", 16),
    logical<LogicalAnd>("And"), logical<LogicalOr>("Or"), logical<LogicalXor>("Xor"),
    bitwise<BitAnd>("BitwiseAnd"), bitwise<BitOr>("BitwiseOr"), bitwise<BitXor>("BitwiseXor"),
    unary_row<Not>("Not", 1), unary_row<BitwiseNot>("BitwiseNot", 18),
    Operator{.name = "BitShift", .since = 28, .min_inputs = 2, .max_inputs = 2, .infer = infer_shift, .run = run_shift,
             .flags = kInPlace},
    Operator{.name = "IsNaN", .since = 20, .infer = infer_test, .run = run_test<false>},
    Operator{.name = "IsInf", .since = 20, .infer = infer_test, .run = run_test<true>},
};

}  // namespace

std::span<const Operator> logic_operators() { return kOperators; }

}  // namespace narrow::operators
