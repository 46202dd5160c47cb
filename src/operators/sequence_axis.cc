// Operators that work along an axis or a diagonal: CumSum, CumProd, Trilu, ReverseSequence.
#include <array>
#include <cstring>

#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- CumSum, CumProd ---------------------------------------------------------------------------------------------------------

Result<int> axis_input(const Node& node, const Tensor& axis, int rank) {
  if (!contains(kIndexTypes, axis.dtype()) || axis.size() != 1) {
    return corrupt(fmt::format("{}: the axis must be one integer", where(node)));
  }
  return normalize_axis(node, axis.to_int64()[0], rank);
}

Status infer_cumulate(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kNumericTypes));
  const Tensor* axis = context.constant(1);
  if (axis != nullptr && context.input(0).ranked) {
    NARROW_TRY([[maybe_unused]] const int a, axis_input(context.node(), *axis, context.input(0).rank()));
  }
  return infer_like_input(context);
}

template <bool product>
Status run_cumulate(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kNumericTypes, x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(const int axis, axis_input(node, context.input(1), x.rank()));
  const bool exclusive = node.get_int("exclusive", 0) != 0, reverse = node.get_int("reverse", 0) != 0;
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  const std::int64_t size = x.shape()[axis], inner = strides_of(x.shape())[axis];
  if (x.size() == 0) return {};
  dispatch(NumericList{}, x.dtype(), [&]<typename T>() {
    using C = Compute<T>;
    using Sum = std::conditional_t<std::is_integral_v<C>, std::uint64_t, double>;
    parallel_ranges(context.pool(), x.size() / size, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t line = begin; line < end; ++line) {
        const std::int64_t start = line / inner * size * inner + line % inner;
        Sum sum = product ? 1 : 0;
        for (std::int64_t i = 0; i < size; ++i) {
          const std::int64_t at = start + (reverse ? size - 1 - i : i) * inner;
          const auto term = static_cast<Sum>(load(pointer<T>(x)[at]));
          const Sum next = product ? sum * term : sum + term;
          pointer<T>(*y)[at] = store<T>(static_cast<C>(exclusive ? sum : next));
          sum = next;
        }
      }
    }, size);
  });
  return {};
}

// ---- Trilu ----------------------------------------------------------------------------------------------------------

Status infer_trilu(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  return infer_like_input(context);
}

Status run_trilu(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (x.rank() < 2) return corrupt(fmt::format("{}: the input has rank {}, expected 2 or more", where(node), x.rank()));
  const int bits = bits_of(x.dtype());
  if (bits < 8) return dtype_error(node, x.dtype());
  std::int64_t k = 0;
  if (context.has_input(1)) {
    if (context.input(1).dtype() != DType::kS64 || context.input(1).size() != 1) {
      return corrupt(fmt::format("{}: k must be one s64", where(node)));
    }
    k = *pointer<std::int64_t>(context.input(1));
  }
  const bool upper = node.get_int("upper", 1) != 0;
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  if (x.size() == 0) return {};
  const std::int64_t rows = x.shape()[x.rank() - 2], columns = x.shape()[x.rank() - 1];
  // Kept: upper, column >= row + k; lower, column <= row + k.
  k = std::clamp(k, -rows, columns);
  const std::size_t bytes = static_cast<std::size_t>(bits) / 8;
  const char* from = static_cast<const char*>(x.raw());
  char* to = static_cast<char*>(y->mutable_raw());
  for (std::int64_t line = 0; line < x.size() / columns; ++line) {
    const std::int64_t row = line % rows;
    const std::int64_t low = upper ? std::clamp<std::int64_t>(row + k, 0, columns) : 0;
    const std::int64_t high = upper ? columns : std::clamp<std::int64_t>(row + k + 1, 0, columns);
    const std::size_t start = static_cast<std::size_t>(line * columns) * bytes;
    std::memset(to + start, 0, static_cast<std::size_t>(low) * bytes);
    std::memcpy(to + start + static_cast<std::size_t>(low) * bytes, from + start + static_cast<std::size_t>(low) * bytes,
                static_cast<std::size_t>(high - low) * bytes);
    std::memset(to + start + static_cast<std::size_t>(high) * bytes, 0, static_cast<std::size_t>(columns - high) * bytes);
  }
  return {};
}

// ---- ReverseSequence ------------------------------------------------------------------------------------------------

Status check_sequence_axes(const Node& node) {
  const std::int64_t time = node.get_int("time_axis", 0), batch = node.get_int("batch_axis", 1);
  if ((time == 0 && batch == 1) || (time == 1 && batch == 0)) return {};
  return corrupt(fmt::format("{}: time_axis {} and batch_axis {}, expected 0 and 1 in either order", where(node), time, batch));
}

Status infer_reverse_sequence(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_sequence_axes(context.node()));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  return infer_like_input(context);
}

Status run_reverse_sequence(const Node& node, RunContext& context) {
  NARROW_RETURN_IF_ERROR(check_sequence_axes(node));
  const Tensor& x = context.input(0);
  const Tensor& lengths = context.input(1);
  if (x.rank() < 2) return corrupt(fmt::format("{}: the input has rank {}, expected 2 or more", where(node), x.rank()));
  const int time_axis = node.get_int("time_axis", 0) == 0 ? 0 : 1, batch_axis = 1 - time_axis;
  const std::int64_t time = x.shape()[time_axis], batch = x.shape()[batch_axis];
  if (lengths.dtype() != DType::kS64 || lengths.size() != batch) {
    return invalid_argument(fmt::format("{}: lengths are {}{}, expected one s64 for each of {} sequences", where(node),
                                        to_string(lengths.dtype()), to_string(lengths.shape()), batch));
  }
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), x.shape()));
  const auto strides = strides_of(x.shape());
  const std::int64_t inner = x.size() == 0 ? 0 : x.size() / time / batch;
  for (std::int64_t b = 0; b < batch && x.size() != 0; ++b) {
    const std::int64_t length = pointer<std::int64_t>(lengths)[b], start = b * strides[batch_axis], step = strides[time_axis];
    if (length < 0 || length > time) {
      return invalid_argument(fmt::format("{}: a sequence of length {} in {} steps", where(node), length, time));
    }
    if (length > 0) out.copy(x, start + (length - 1) * step, start, {{length, -step, step}, {inner, 1, 1}});
    out.copy(x, start + length * step, start + length * step, {{time - length, step, step}, {inner, 1, 1}});
  }
  out.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "CumSum", .since = 14, .min_inputs = 2, .max_inputs = 2, .infer = infer_cumulate, .run = run_cumulate<false>},
    Operator{.name = "CumProd", .since = 26, .min_inputs = 2, .max_inputs = 2, .infer = infer_cumulate, .run = run_cumulate<true>},
    Operator{.name = "Trilu", .since = 14, .max_inputs = 2, .infer = infer_trilu, .run = run_trilu},
    Operator{.name = "Trilu", .domain = "com.microsoft", .max_inputs = 2, .infer = infer_trilu, .run = run_trilu},
    Operator{.name = "ReverseSequence", .since = 10, .min_inputs = 2, .max_inputs = 2, .infer = infer_reverse_sequence,
             .run = run_reverse_sequence},
};

}  // namespace

std::span<const Operator> sequence_axis_operators() { return kOperators; }

}  // namespace narrow::operators
