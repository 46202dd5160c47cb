// ScatterElements and ScatterND: a copy of the data with updates written, added, multiplied or compared in.
#include <array>
#include <cstring>

#include "operators/families.h"
#include "operators/indices.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Node;
using graph::Type;
using graph::TypeKind;

enum class Reduction { kNone, kAdd, kMul, kMax, kMin };

Result<Reduction> reduction_of(const Node& node) {
  const std::string name = node.get_string("reduction", "none");
  if (name == "none") return Reduction::kNone;
  if (name == "add") return Reduction::kAdd;
  if (name == "mul") return Reduction::kMul;
  if (name == "max") return Reduction::kMax;
  if (name == "min") return Reduction::kMin;
  return corrupt(fmt::format("{}: reduction is '{}', expected none, add, mul, max or min", where(node), name));
}

template <typename C>
C combine(Reduction reduction, C a, C b) {
  switch (reduction) {
    case Reduction::kNone: return b;
    case Reduction::kMax: return a > b || a != a ? a : b;
    case Reduction::kMin: return a < b || a != a ? a : b;
    case Reduction::kAdd:
      if constexpr (std::is_same_v<C, bool>) return a || b;
      else if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) + static_cast<Wrapping<C>>(b));
      else return a + b;
    case Reduction::kMul:
      if constexpr (std::is_same_v<C, bool>) return a && b;
      else if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) * static_cast<Wrapping<C>>(b));
      else return a * b;
  }
  return b;
}

// Writes runs of `slice` updates at the positions, in the order of the updates. The last one wins where two meet.
Status scatter(const Node& node, RunContext& context, const std::vector<std::int64_t>& positions, std::int64_t slice) {
  const Tensor& x = context.input(0);
  const Tensor& updates = context.input(2);
  NARROW_TRY(const Reduction reduction, reduction_of(node));
  if (updates.dtype() != x.dtype()) return dtype_error(node, updates.dtype());
  if (updates.size() != static_cast<std::int64_t>(positions.size()) * slice) {
    return invalid_argument(fmt::format("{}: updates of shape {} for {} places of {} elements", where(node),
                                        to_string(updates.shape()), positions.size(), slice));
  }
  if (x.dtype() == DType::kString) {
    if (reduction != Reduction::kNone) return dtype_error(node, x.dtype());
    std::vector<std::string> strings = x.strings();
    for (std::size_t i = 0; i < positions.size(); ++i) {
      for (std::int64_t k = 0; k < slice; ++k) strings[positions[i] + k] = updates.strings()[static_cast<std::int64_t>(i) * slice + k];
    }
    context.set_output(0, Tensor::from_strings(x.shape(), std::move(strings)));
    return {};
  }
  if (!contains(set_of(NumericOrBoolList{}), x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  if (y->bytes() != 0 && y->raw() != x.raw()) std::memcpy(y->mutable_raw(), x.raw(), y->bytes());
  dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    const T* from = pointer<T>(updates);
    for (const std::int64_t position : positions) {
      T* to = pointer<T>(*y) + position;
      for (std::int64_t k = 0; k < slice; ++k, ++from) to[k] = store<T>(combine(reduction, load(to[k]), load(*from)));
    }
  });
  return {};
}

Status infer_scatter(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const Reduction reduction, reduction_of(context.node()));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 2}));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  return infer_like_input(context);
}

Status infer_scatter_elements(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_scatter(context));
  const Type& x = context.input(0);
  if (!x.ranked) return {};
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, x.rank(), x.rank()));
  NARROW_RETURN_IF_ERROR(check_rank(context, 2, x.rank(), x.rank()));
  NARROW_TRY([[maybe_unused]] const int axis, normalize_axis(context.node(), context.node().get_int("axis", 0), x.rank()));
  return {};
}

Status infer_scatter_nd(InferContext& context) {
  NARROW_RETURN_IF_ERROR(infer_scatter(context));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, -1));
  const Type& x = context.input(0);
  const Type& at = context.input(1);
  if (!x.ranked || !at.ranked || !at.dims.back().known()) return {};
  return check_nd(context.node(), x.rank(), at.rank(), at.dims.back().size, 0);
}

Status run_scatter_elements(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  NARROW_TRY(const auto positions, element_positions(node, x.shape(), context.input(1), axis));
  return scatter(node, context, positions, 1);
}

Status run_scatter_nd(const Node& node, RunContext& context) {
  NARROW_TRY(const NdPositions found, nd_positions(node, context.input(0).shape(), context.input(1), 0));
  return scatter(node, context, found.positions, found.slice);
}

const std::array kOperators = {
    Operator{.name = "ScatterElements", .since = 18, .min_inputs = 3, .max_inputs = 3, .infer = infer_scatter_elements,
             .run = run_scatter_elements},
    Operator{.name = "ScatterND", .since = 18, .min_inputs = 3, .max_inputs = 3, .infer = infer_scatter_nd,
             .run = run_scatter_nd},
};

}  // namespace

std::span<const Operator> scatter_operators() { return kOperators; }

}  // namespace narrow::operators
