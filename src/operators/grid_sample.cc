// GridSample, and AffineGrid that makes its grids.
#include <array>
#include <limits>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/sampling.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// Cubic interpolation reads 4^rank pixels for one.
constexpr int kMaxSpatialRank = 5;

// ---- GridSample -----------------------------------------------------------------------------------------------------

struct SampleMode {
  Interpolation interpolation = Interpolation::kLinear;
  Border border = Border::kZeros;
  bool align_corners = false;
};

Result<SampleMode> read_mode(const Node& node) {
  SampleMode out;
  const std::string mode = node.get_string("mode", "linear"), padding = node.get_string("padding_mode", "zeros");
  if (mode == "nearest") out.interpolation = Interpolation::kNearest;
  else if (mode == "cubic" || mode == "bicubic") out.interpolation = Interpolation::kCubic;
  else if (mode != "linear" && mode != "bilinear") return corrupt(fmt::format("{}: mode is '{}', expected linear, nearest or cubic", where(node), mode));
  if (padding == "border") out.border = Border::kClamp;
  else if (padding == "reflection") out.border = Border::kReflect;
  else if (padding != "zeros") return corrupt(fmt::format("{}: padding_mode is '{}', expected zeros, border or reflection", where(node), padding));
  out.align_corners = node.get_int("align_corners", 0) != 0;
  return out;
}

Status infer_grid_sample(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY([[maybe_unused]] const SampleMode mode, read_mode(node));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, -1));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 3, -1));
  const Type& x = context.input(0);
  const Type& grid = context.input(1);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype);
  if (x.ranked && grid.ranked) {
    if (x.rank() != grid.rank()) {
      return corrupt(fmt::format("{}: the input {} and the grid {} have different ranks", where(node), graph::to_string(x), graph::to_string(grid)));
    }
    y = x;
    NARROW_TRY(y.dims[0], unify_dims(node, x.dims[0], grid.dims[0], "the batch"));
    NARROW_TRY([[maybe_unused]] const Dim axes, unify_dims(node, grid.dims.back(), Dim(x.rank() - 2), "the number of coordinates"));
    for (std::size_t d = 2; d < y.dims.size(); ++d) y.dims[d] = grid.dims[d - 1];
  }
  context.set_output(0, std::move(y));
  return {};
}

template <typename T>
std::vector<T> numbers_of(const Tensor& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.size()));
  dispatch(FloatList{}, tensor.dtype(), [&]<typename From>() {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(load(pointer<From>(tensor)[i]));
  });
  return values;
}

// A sample as an element: integers drop their fraction and stay in range.
template <typename To, typename From>
To from_sample(From v) {
  using C = Compute<To>;
  if constexpr (std::is_same_v<C, bool>) {
    return store<To>(v != 0);
  } else if constexpr (std::is_integral_v<C>) {
    constexpr From low = static_cast<From>(std::numeric_limits<C>::min()), high = static_cast<From>(std::numeric_limits<C>::max());
    return v <= low ? std::numeric_limits<C>::min() : v >= high ? std::numeric_limits<C>::max() : v != v ? C(0) : static_cast<C>(v);
  } else {
    return store<To>(static_cast<C>(v));
  }
}

Status run_grid_sample(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& grid = context.input(1);
  NARROW_TRY(const SampleMode mode, read_mode(node));
  if (!contains(kFloatTypes, grid.dtype())) return dtype_error(node, grid.dtype());
  const int rank = x.rank() - 2;
  if (rank < 1 || rank > kMaxSpatialRank) {
    return unsupported(fmt::format("{}: the input has rank {}, expected 3 to {}", where(node), x.rank(), kMaxSpatialRank + 2));
  }
  if (grid.rank() != x.rank() || grid.shape()[0] != x.shape()[0] || grid.shape().back() != rank) {
    return invalid_argument(fmt::format("{}: a grid of shape {} for an input of shape {}, expected [{}, …, {}]", where(node),
                                        to_string(grid.shape()), to_string(x.shape()), x.shape()[0], rank));
  }
  Shape shape = {x.shape()[0], x.shape()[1]};
  shape.insert(shape.end(), grid.shape().begin() + 1, grid.shape().end() - 1);
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  if (y->size() == 0) return {};
  const std::span<const std::int64_t> sizes = std::span(x.shape()).subspan(2);
  const std::int64_t channels = shape[1], in = x.size() / (x.shape()[0] * channels), out = y->size() / (shape[0] * channels);
  if (in == 0) return invalid_argument(fmt::format("{}: an input of shape {} has nothing to sample", where(node), to_string(x.shape())));
  const bool known = dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    // Positions in f32 like the runtimes' own; integers and f64 need the digits of a double.
    using A = std::conditional_t<std::is_same_v<Compute<T>, float>, float, double>;
    const std::vector<A> positions = numbers_of<A>(grid);
    const Sampler<A> sampler(sizes, mode.interpolation, mode.border, mode.align_corners);
    parallel_ranges(context.pool(), shape[0] * out, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Tap<A>> taps;
      A at[kMaxSpatialRank];
      for (std::int64_t i = begin; i < end; ++i) {
        for (int d = 0; d < rank; ++d) {
          const A n = positions[i * rank + rank - 1 - d], size = static_cast<A>(sizes[d]);  // the grid's x is the last axis
          at[d] = mode.align_corners ? (n + 1) / 2 * (size - 1) : ((n + 1) * size - 1) / 2;
        }
        sampler.find(at, taps);
        const std::int64_t image = i / out;
        for (std::int64_t c = 0; c < channels; ++c) {
          const T* plane = pointer<T>(x) + (image * channels + c) * in;
          A sum = 0;
          for (const Tap<A>& tap : taps) sum += tap.weight * static_cast<A>(load(plane[tap.offset]));
          pointer<T>(*y)[(image * channels + c) * out + i % out] = from_sample<T>(sum);
        }
      }
    }, 32 + channels * 8);
  });
  return known ? Status() : dtype_error(node, x.dtype());
}

// ---- AffineGrid -----------------------------------------------------------------------------------------------------

// size is [N, C, spatial…], 2 or 3 of them.
Status check_size(const Node& node, std::span<const std::int64_t> size) {
  const bool fits = (size.size() == 4 || size.size() == 5) && base::checked_product(size).has_value();
  if (fits) return {};
  return corrupt(fmt::format("{}: size is {}, expected [N, C, H, W] or [N, C, D, H, W]", where(node), to_string(size)));
}

Status infer_affine_grid(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, 3));
  const Type& theta = context.input(0);
  if (theta.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(theta.dtype);
  if (const auto size = known_integers(context, 1)) NARROW_RETURN_IF_ERROR(check_size(node, *size));
  if (auto dims = context.dims_value(1); dims && dims->size() >= 3) {
    y.ranked = true;
    y.dims = {(*dims)[0]};
    y.dims.insert(y.dims.end(), dims->begin() + 2, dims->end());
    y.dims.push_back(Dim(static_cast<std::int64_t>(dims->size()) - 2));
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_affine_grid(const Node& node, RunContext& context) {
  const Tensor& theta = context.input(0);
  if (!contains(kFloatTypes, theta.dtype())) return dtype_error(node, theta.dtype());
  if (context.input(1).dtype() != DType::kS64) return dtype_error(node, context.input(1).dtype());
  const Shape size = context.input(1).to_int64();
  NARROW_RETURN_IF_ERROR(check_size(node, size));
  const std::int64_t rank = static_cast<std::int64_t>(size.size()) - 2;
  if (theta.shape() != Shape{size[0], rank, rank + 1}) {
    return invalid_argument(fmt::format("{}: theta has shape {}, expected [{},{},{}]", where(node), to_string(theta.shape()), size[0], rank, rank + 1));
  }
  Shape shape = {size[0]};
  shape.insert(shape.end(), size.begin() + 2, size.end());
  shape.push_back(rank);
  NARROW_TRY(Tensor * y, context.output(0, theta.dtype(), shape));
  if (y->size() == 0) return {};
  const bool align = node.get_int("align_corners", 0) != 0;
  const std::int64_t points = y->size() / (size[0] * rank);
  dispatch(FloatList{}, theta.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), size[0] * points, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        double at[4] = {};  // x first, as theta's columns are
        std::int64_t rest = i % points;
        for (std::int64_t d = 0; d < rank; ++d) {
          const std::int64_t extent = size[size.size() - 1 - static_cast<std::size_t>(d)], p = rest % extent;
          rest /= extent;
          const double position = static_cast<double>(p), count = static_cast<double>(extent);
          at[d] = !align ? (2 * position + 1) / count - 1 : extent == 1 ? 0 : 2 * position / (count - 1) - 1;
        }
        const T* row = pointer<T>(theta) + i / points * rank * (rank + 1);
        for (std::int64_t r = 0; r < rank; ++r, row += rank + 1) {
          double sum = static_cast<double>(load(row[rank]));
          for (std::int64_t d = 0; d < rank; ++d) sum += static_cast<double>(load(row[d])) * at[d];
          pointer<T>(*y)[i * rank + r] = store<T>(static_cast<Compute<T>>(sum));
        }
      }
    }, 16);
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "GridSample", .since = 22, .min_inputs = 2, .max_inputs = 2, .infer = infer_grid_sample, .run = run_grid_sample},
    Operator{.name = "AffineGrid", .since = 20, .min_inputs = 2, .max_inputs = 2, .infer = infer_affine_grid, .run = run_affine_grid},
};

}  // namespace

std::span<const Operator> grid_sample_operators() { return kOperators; }

}  // namespace narrow::operators
