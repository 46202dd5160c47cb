// Operators that look for elements along an axis: ArgMax, ArgMin, TopK, NonZero.
#include <algorithm>
#include <array>
#include <numeric>

#include "operators/families.h"
#include "operators/type_rules.h"
#include "operators/dispatch.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// A shape seen as [outer, size, inner] around one axis.
struct Around {
  std::int64_t outer = 1, size = 1, inner = 1;
  Around(const Shape& shape, int axis) : size(shape[axis]) {
    for (int d = 0; d < axis; ++d) outer *= shape[d];
    for (std::size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
  }
};

// NaN counts as larger than every number.
template <typename C>
bool larger(C a, C b) { return a > b || (a != a && b == b); }

// ---- ArgMax, ArgMin -------------------------------------------------------------------------------------------------

Status infer_arg(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kNumericTypes));
  const Type& x = context.input(0);
  Type out = Type::tensor(DType::kS64);
  if (x.ranked) {
    NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
    out.ranked = true;
    out.dims = x.dims;
    if (node.get_int("keepdims", 1) != 0) out.dims[axis] = Dim(1);
    else out.dims.erase(out.dims.begin() + axis);
  }
  context.set_output(0, out);
  return {};
}

template <bool largest>
Status run_arg(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kNumericTypes, x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  const bool last = node.get_int("select_last_index", 0) != 0;
  const Around a(x.shape(), axis);
  if (a.size == 0 && a.outer * a.inner != 0) {
    return invalid_argument(fmt::format("{}: axis {} of {} has no elements to choose from", where(node), axis, to_string(x.shape())));
  }
  Shape shape = x.shape();
  if (node.get_int("keepdims", 1) != 0) shape[axis] = 1;
  else shape.erase(shape.begin() + axis);
  NARROW_TRY(Tensor * y, context.output(0, DType::kS64, shape));
  dispatch(NumericList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), a.outer * a.inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const T* from = pointer<T>(x) + o / a.inner * a.size * a.inner + o % a.inner;
        std::int64_t best = 0;
        for (std::int64_t i = 1; i < a.size; ++i) {
          const auto candidate = load(from[i * a.inner]), so_far = load(from[best * a.inner]);
          const bool worse = largest ? larger(so_far, candidate) : larger(candidate, so_far);
          const bool better = largest ? larger(candidate, so_far) : larger(so_far, candidate);
          if (better || (last && !worse)) best = i;
        }
        pointer<std::int64_t>(*y)[o] = best;
      }
    }, a.size);
  });
  return {};
}

// ---- TopK -----------------------------------------------------------------------------------------------------------

Result<std::int64_t> top_count(const Node& node, const Tensor& k, std::int64_t size) {
  if (!is_integer(k.dtype()) || k.size() != 1) return corrupt(fmt::format("{}: k must be one integer", where(node)));
  const std::int64_t count = k.to_int64()[0];
  if (count < 0 || count > size) {
    return corrupt(fmt::format("{}: k is {}, expected 0 to {}", where(node), count, size));
  }
  return count;
}

Status infer_top_k(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kNumericTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  Type values = context.input(0);
  Type places = values.kind == TypeKind::kTensor ? values : Type::tensor(DType::kS64);
  places.dtype = DType::kS64;
  if (values.ranked) {
    NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", -1), values.rank()));
    Dim count;
    if (const Tensor* k = context.constant(1)) {
      const Dim& size = values.dims[axis];
      NARROW_TRY(count.size, top_count(node, *k, size.known() ? size.size : std::numeric_limits<std::int64_t>::max()));
    } else if (const auto dims = context.dims_value(1); dims && dims->size() == 1) {
      count = (*dims)[0];
    }
    values.dims[axis] = places.dims[axis] = count;
  }
  context.set_output(0, values);
  context.set_output(1, places);
  return {};
}

Status run_top_k(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kNumericTypes, x.dtype())) return dtype_error(node, x.dtype());
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", -1), x.rank()));
  const Around a(x.shape(), axis);
  NARROW_TRY(const std::int64_t k, top_count(node, context.input(1), a.size));
  const bool want_largest = node.get_int("largest", 1) != 0;
  Shape shape = x.shape();
  shape[axis] = k;
  Tensor* values = nullptr;
  Tensor* places = nullptr;
  if (context.wants_output(0)) {
    NARROW_TRY(values, context.output(0, x.dtype(), shape));
  }
  if (context.wants_output(1)) {
    NARROW_TRY(places, context.output(1, DType::kS64, shape));
  }
  dispatch(NumericList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), a.outer * a.inner, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::int64_t> order(static_cast<std::size_t>(a.size));
      for (std::int64_t o = begin; o < end; ++o) {
        const T* from = pointer<T>(x) + o / a.inner * a.size * a.inner + o % a.inner;
        std::iota(order.begin(), order.end(), 0);
        // Sorted also where any order would do; equal elements by place.
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](std::int64_t i, std::int64_t j) {
          const auto p = load(from[i * a.inner]), q = load(from[j * a.inner]);
          const bool before = want_largest ? larger(p, q) : larger(q, p), after = want_largest ? larger(q, p) : larger(p, q);
          return before || (!after && i < j);
        });
        for (std::int64_t i = 0; i < k; ++i) {
          const std::int64_t to = (o / a.inner * k + i) * a.inner + o % a.inner;
          if (values != nullptr) pointer<T>(*values)[to] = from[order[i] * a.inner];
          if (places != nullptr) pointer<std::int64_t>(*places)[to] = order[i];
        }
      }
    }, a.size * 4);
  });
  return {};
}

// ---- NonZero --------------------------------------------------------------------------------------------------------

Status infer_non_zero(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kNumericTypes | kBoolType));
  const Type& x = context.input(0);
  context.set_output(0, Type::tensor(DType::kS64, {x.ranked ? Dim(x.rank()) : Dim(), Dim()}));
  return {};
}

Status run_non_zero(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  std::vector<std::int64_t> found;
  const bool known = dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < x.size(); ++i) {
      if (load(pointer<T>(x)[i]) != Compute<T>(0)) found.push_back(i);
    }
  });
  if (!known) return dtype_error(node, x.dtype());
  const auto count = static_cast<std::int64_t>(found.size());
  NARROW_TRY(Tensor * y, context.output(0, DType::kS64, Shape{x.rank(), count}));
  for (int d = x.rank(); d-- > 0;) {
    for (std::int64_t i = 0; i < count; ++i) {
      pointer<std::int64_t>(*y)[d * count + i] = found[i] % x.shape()[d];
      found[i] /= x.shape()[d];
    }
  }
  return {};
}

const std::array kOperators = {
    Operator{.name = "ArgMax", .since = 13, .infer = infer_arg, .run = run_arg<true>},
    Operator{.name = "ArgMin", .since = 13, .infer = infer_arg, .run = run_arg<false>},
    Operator{.name = "TopK", .since = 24, .min_inputs = 2, .max_inputs = 2, .min_outputs = 1, .max_outputs = 2,
             .infer = infer_top_k, .run = run_top_k},
    Operator{.name = "NonZero", .since = 13, .infer = infer_non_zero, .run = run_non_zero},
};

}  // namespace

std::span<const Operator> search_operators() { return kOperators; }

}  // namespace narrow::operators
