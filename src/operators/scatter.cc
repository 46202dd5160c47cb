// ScatterElements and ScatterND: a copy of the data with updates written, added, multiplied or compared in; and
// TensorScatter, which writes new steps into a cache.
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

// ---- TensorScatter --------------------------------------------------------------------------------------------------

// past_cache [batch, …, most steps, …], update [batch, …, steps, …], write_indices [batch]
Result<int> cache_axis(const Node& node, int rank) {
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", -2), rank));
  if (axis != 0) return axis;
  return corrupt(fmt::format("{}: axis 0 is the batch", where(node)));
}

Result<bool> is_circular(const Node& node) {
  const std::string mode = node.get_string("mode", "linear");
  if (mode == "circular" || mode == "linear") return mode == "circular";
  return corrupt(fmt::format("{}: mode is '{}', expected linear or circular", where(node), mode));
}

Status infer_tensor_scatter(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const bool circular, is_circular(context.node()));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 2>{0, 1}));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 2, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  const Type& cache = context.input(0);
  if (cache.ranked) {
    NARROW_TRY([[maybe_unused]] const int axis, cache_axis(context.node(), cache.rank()));
    NARROW_RETURN_IF_ERROR(check_rank(context, 1, cache.rank(), cache.rank()));
  }
  return infer_like_input(context);
}

Status run_tensor_scatter(const Node& node, RunContext& context) {
  const Tensor& cache = context.input(0);
  const Tensor& update = context.input(1);
  NARROW_TRY(const bool circular, is_circular(node));
  NARROW_TRY(const int axis, cache_axis(node, cache.rank()));
  bool fits = update.dtype() == cache.dtype() && update.rank() == cache.rank();
  for (int d = 0; fits && d < cache.rank(); ++d) {
    fits = d == axis ? update.shape()[d] <= cache.shape()[d] : update.shape()[d] == cache.shape()[d];
  }
  if (!fits) {
    return invalid_argument(fmt::format("{}: an update {}{} for a cache {}{}, expected the same type and all dimensions but axis {}", where(node),
                                        to_string(update.dtype()), to_string(update.shape()), to_string(cache.dtype()), to_string(cache.shape()), axis));
  }
  const std::int64_t batch = cache.shape()[0], most = cache.shape()[axis], steps = update.shape()[axis];
  std::vector<std::int64_t> starts(static_cast<std::size_t>(batch), 0);
  if (context.has_input(2)) {
    if (context.input(2).dtype() != DType::kS64) return dtype_error(node, context.input(2).dtype());
    starts = context.input(2).to_int64();
    if (static_cast<std::int64_t>(starts.size()) != batch) return invalid_argument(fmt::format("{}: {} write indices for a batch of {}", where(node), starts.size(), batch));
  }
  for (std::int64_t& start : starts) {
    if (start < 0 || (!circular && start > most - steps)) {
      return invalid_argument(fmt::format("{}: {} steps at {} do not fit a cache of {}", where(node), steps, start, most));
    }
    if (circular && most > 0) start %= most;
  }
  NARROW_TRY(MovedOutput y, MovedOutput::create(context, 0, cache.dtype(), cache.shape()));
  y.copy(cache, 0, 0, {{cache.size(), 1, 1}});
  const auto from = strides_of(update.shape()), to = strides_of(cache.shape());
  std::int64_t middle = 1;
  for (int d = 1; d < axis; ++d) middle *= cache.shape()[d];
  const std::int64_t inner = to[axis];
  for (std::int64_t b = 0; b < batch && update.size() != 0; ++b) {
    // What runs over the end goes on at the front.
    const std::int64_t start = starts[b], first = std::min(steps, most - start);
    y.copy(update, b * from[0], b * to[0] + start * inner, {{middle, steps * inner, most * inner}, {first * inner, 1, 1}});
    if (first < steps) y.copy(update, b * from[0] + first * inner, b * to[0], {{middle, steps * inner, most * inner}, {(steps - first) * inner, 1, 1}});
  }
  y.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "ScatterElements", .since = 18, .min_inputs = 3, .max_inputs = 3, .infer = infer_scatter_elements,
             .run = run_scatter_elements},
    Operator{.name = "ScatterND", .since = 18, .min_inputs = 3, .max_inputs = 3, .infer = infer_scatter_nd,
             .run = run_scatter_nd},
    Operator{.name = "TensorScatter", .since = 24, .min_inputs = 2, .max_inputs = 3, .infer = infer_tensor_scatter,
             .run = run_tensor_scatter},
};

}  // namespace

std::span<const Operator> scatter_operators() { return kOperators; }

}  // namespace narrow::operators
