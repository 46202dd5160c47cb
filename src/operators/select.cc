// Choosing between numbers: Where, Clip, and narrow's ReplaceNan.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "operators/broadcast.h"
#include "operators/elementwise.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;

Status infer_where(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kBoolType));
  NARROW_TRY(const DType dtype, common_dtype(context, std::array<std::size_t, 2>{1, 2}));
  const Type* types[] = {&context.input(0), &context.input(1), &context.input(2)};
  NARROW_TRY(const auto dims, broadcast_types(context.node(), types));
  if (dtype == DType::kUndefined) return {};
  context.set_output(0, dims ? Type::tensor(dtype, *dims) : Type::tensor(dtype));
  // Shapes that the graph computes: each dimension from the side that its condition names, when that is known.
  const auto which = context.dims_value(0), a = context.dims_value(1), b = context.dims_value(2);
  if (!which || !a || !b || which->empty() || a->empty() || b->empty() || !dims || dims->size() != 1) return {};
  const std::size_t count = std::max({which->size(), a->size(), b->size()});
  std::vector<graph::Dim> chosen;
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = [i](const std::vector<graph::Dim>& list) { return list[list.size() == 1 ? 0 : std::min(i, list.size() - 1)]; };
    const graph::Dim condition = at(*which), x = at(*a), y = at(*b);
    chosen.push_back(condition.known() ? (condition.size != 0 ? x : y) : x.same(y) ? x : graph::Dim());
  }
  context.set_dims_value(0, std::move(chosen));
  return {};
}

template <typename Word>
void choose(const Tensor& condition, const Tensor& x, const Tensor& y, Tensor& out, const BroadcastPlan& plan,
            base::ThreadPool& pool) {
  for_each_run(plan, pool, [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
    const std::uint8_t* c = pointer<std::uint8_t>(condition) + from[0];
    const Word* a = pointer<Word>(x) + from[1];
    const Word* b = pointer<Word>(y) + from[2];
    Word* o = pointer<Word>(out) + at;
    const auto [c_step, a_step, b_step] = plan.inner_strides;
    if (c_step == 0 && a_step == 1 && b_step == 1) {
      std::memmove(o, *c != 0 ? a : b, static_cast<std::size_t>(n) * sizeof(Word));
      return;
    }
    for (std::int64_t i = 0; i < n; ++i) o[i] = c[i * c_step] != 0 ? a[i * a_step] : b[i * b_step];
  });
}

Status run_where(const Node& node, RunContext& context) {
  const Tensor& condition = context.input(0);
  const Tensor& x = context.input(1);
  const Tensor& y = context.input(2);
  if (condition.dtype() != DType::kBool) return dtype_error(node, condition.dtype());
  if (x.dtype() != y.dtype()) return dtype_error(node, y.dtype());
  const Shape* shapes[] = {&condition.shape(), &x.shape(), &y.shape()};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  const BroadcastPlan plan = plan_broadcast(shape, shapes);
  if (x.dtype() == DType::kString) {
    std::vector<std::string> strings(static_cast<std::size_t>(plan.elements));
    for_each_run(plan, context.pool(), [&](std::int64_t at, const BroadcastPlan::Offsets& from, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        const bool first = pointer<std::uint8_t>(condition)[from[0] + i * plan.inner_strides[0]] != 0;
        strings[at + i] = first ? x.strings()[from[1] + i * plan.inner_strides[1]]
                                : y.strings()[from[2] + i * plan.inner_strides[2]];
      }
    });
    context.set_output(0, Tensor::from_strings(shape, std::move(strings)));
    return {};
  }
  const int bits = bits_of(x.dtype());
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * out, context.output(0, x.dtype(), shape));
  switch (bits) {
    case 8: choose<std::uint8_t>(condition, x, y, *out, plan, context.pool()); break;
    case 16: choose<std::uint16_t>(condition, x, y, *out, plan, context.pool()); break;
    case 32: choose<std::uint32_t>(condition, x, y, *out, plan, context.pool()); break;
    case 64: choose<std::uint64_t>(condition, x, y, *out, plan, context.pool()); break;
  }
  return {};
}

Status infer_clip(InferContext& context) {
  for (std::size_t i = 0; i < 3; ++i) {
    NARROW_RETURN_IF_ERROR(check_dtype(context, i, kNumericTypes));
    if (i > 0 && known_elements(context.input(i)).value_or(1) != 1) {
      return corrupt(fmt::format("{}: input {} ({}) is {}, expected one number", where(context.node()), i,
                                 i == 1 ? "min" : "max", graph::to_string(context.input(i))));
    }
  }
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 3>{0, 1, 2}));
  return infer_like_input(context);
}

// A bound as the type computes it; `fallback` when the input is left out.
template <typename T>
Result<Compute<T>> bound(const Node& node, RunContext& context, std::size_t i, Compute<T> fallback) {
  if (!context.has_input(i)) return fallback;
  const Tensor& tensor = context.input(i);
  if (tensor.dtype() != kDTypeOf<T>) return dtype_error(node, tensor.dtype());
  if (tensor.size() != 1) {
    return invalid_argument(fmt::format("{}: input {} has shape {}, expected one number", where(node), i,
                                        to_string(tensor.shape())));
  }
  return Compute<T>(load(*pointer<T>(tensor)));
}

template <typename T>
Status clip(const Node& node, RunContext& context) {
  using C = Compute<T>;
  constexpr bool real = std::is_floating_point_v<C>;
  const Tensor& x = context.input(0);
  NARROW_TRY(const C low, bound<T>(node, context, 1, real ? -std::numeric_limits<C>::infinity() : std::numeric_limits<C>::lowest()));
  NARROW_TRY(const C high, bound<T>(node, context, 2, real ? std::numeric_limits<C>::infinity() : std::numeric_limits<C>::max()));
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  parallel_ranges(context.pool(), x.size(), [&](std::int64_t begin, std::int64_t end) {
    const T* in = pointer<T>(x);
    T* out = pointer<T>(*y);
    if constexpr (std::is_same_v<T, float>) {
      const float bounds[] = {low, high};
      kernels::unary_f32(kernels::UnaryF32::kClip)(in + begin, out + begin, static_cast<std::size_t>(end - begin), bounds);
    } else {
      for (std::int64_t i = begin; i < end; ++i) {
        C v = load(in[i]);
        v = v < low ? low : v;
        out[i] = store<T>(v > high ? high : v);
      }
    }
  });
  return {};
}

Status run_clip(const Node& node, RunContext& context) {
  Status status;
  const DType dtype = context.input(0).dtype();
  const bool known = dispatch(NumericList{}, dtype, [&]<typename T>() { status = clip<T>(node, context); });
  return known ? status : dtype_error(node, dtype);
}

// ---- ReplaceNan -----------------------------------------------------------------------------------------------------

Status infer_replace_nan(InferContext& context) {
  context.set_output(0, context.input(0));
  return {};
}

// y = `value` where x is NaN, x elsewhere.
Status run_replace_nan(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.dtype() != DType::kF32) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * y, context.output(0, DType::kF32, x.shape()));
  const float value = node.get_float("value", 0);
  const float* from = x.data<float>().data();
  float* to = y->mutable_data<float>().data();
  constexpr std::int64_t kPart = 1 << 14;
  context.pool().parallel_for(static_cast<std::size_t>((x.size() + kPart - 1) / kPart), [&](std::size_t part, int) {
    const std::int64_t begin = static_cast<std::int64_t>(part) * kPart, count = std::min(kPart, x.size() - begin);
    kernels::unary_f32(kernels::UnaryF32::kReplaceNan)(from + begin, to + begin, static_cast<std::size_t>(count), &value);
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "ReplaceNan", .domain = "narrow", .infer = infer_replace_nan, .run = run_replace_nan, .flags = kInPlace},
    Operator{.name = "Where", .since = 16, .min_inputs = 3, .max_inputs = 3, .infer = infer_where, .run = run_where,
             .quant = {.role = QuantRole::kFollow, .data_inputs = 0b110}},
    Operator{.name = "Clip", .since = 13, .max_inputs = 3, .infer = infer_clip, .run = run_clip,
             .quant = kActivationRule, .flags = kInPlace},
};

}  // namespace

std::span<const Operator> select_operators() { return kOperators; }

}  // namespace narrow::operators
