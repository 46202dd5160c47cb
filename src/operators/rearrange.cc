// Putting elements where they belong in an image: Col2Im, MaxUnpool, CenterCropPad.
#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/strided_copy.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using kernels::Window;

// ---- Col2Im ---------------------------------------------------------------------------------------------------------

// input [N, C * taps, blocks], image_shape, block_shape: the sums of overlapping blocks.
Status infer_col2im(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const WindowAttributes attributes, read_window(context.node()));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, 3));
  for (std::size_t i : {1, 2}) {
    NARROW_RETURN_IF_ERROR(check_dtype(context, i, set_of({DType::kS64})));
    NARROW_RETURN_IF_ERROR(check_rank(context, i, 1, 1));
  }
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype);
  if (auto image = context.dims_value(1)) {
    y.ranked = true;
    y.dims = {Dim(), Dim()};
    if (x.ranked) y.dims[0] = x.dims[0];
    if (const auto block = known_integers(context, 2); block && x.ranked) {
      const auto taps = base::checked_product(*block);
      if (taps && *taps > 0) y.dims[1] = divide_dims(x.dims[1], Dim(*taps));
    }
    y.dims.insert(y.dims.end(), image->begin(), image->end());
  }
  context.set_output(0, std::move(y));
  return {};
}

template <typename C>
C plus(C a, C b) {
  if constexpr (std::is_same_v<C, bool>) return a || b;
  else if constexpr (std::is_integral_v<C>) return static_cast<C>(static_cast<Wrapping<C>>(a) + static_cast<Wrapping<C>>(b));
  else return a + b;
}

Status run_col2im(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  for (std::size_t i : {1, 2}) {
    if (context.input(i).dtype() != DType::kS64) return dtype_error(node, context.input(i).dtype());
  }
  if (!contains(set_of(NumericOrBoolList{}), x.dtype())) return dtype_error(node, x.dtype());
  const Shape image = context.input(1).to_int64(), block = context.input(2).to_int64();
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  const auto fail = [&](std::string_view why) {
    return invalid_argument(fmt::format("{}: blocks {} of an image {} from an input of shape {}: {}", where(node), to_string(block), to_string(image), to_string(x.shape()), why));
  };
  if (x.rank() != 3 || image.empty() || image.size() != block.size()) return fail("expected an input of rank 3 and as many image as block dimensions");
  const auto pixels = base::checked_product(image), taps = base::checked_product(block);
  if (!pixels || !taps || *taps < 1 || x.shape()[1] % *taps != 0) return fail("the channels are no multiple of the block");
  NARROW_TRY(const std::vector<Window> axes, resolve_window(node, attributes, image, block));
  std::int64_t blocks = 1;
  for (const Window& axis : axes) blocks = base::checked_mul(blocks, axis.out).value_or(-1);
  if (blocks != x.shape()[2]) return fail(fmt::format("these windows make {} blocks", blocks));
  const std::int64_t planes = x.shape()[0] * (x.shape()[1] / *taps);
  Shape shape = {x.shape()[0], x.shape()[1] / *taps};
  shape.insert(shape.end(), image.begin(), image.end());
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  const int rank = static_cast<int>(axes.size());
  dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), planes, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Compute<T>> sums(static_cast<std::size_t>(*pixels));
      for (std::int64_t plane = begin; plane < end; ++plane) {
        std::fill(sums.begin(), sums.end(), Compute<T>(0));
        const T* from = pointer<T>(x) + plane * *taps * blocks;
        for (std::int64_t tap = 0; tap < *taps; ++tap) {
          for (std::int64_t b = 0; b < blocks; ++b) {
            std::int64_t rest_tap = tap, rest_block = b, offset = 0, stride = 1;
            bool inside = true;
            for (int d = rank; d-- > 0;) {
              const Window& axis = axes[static_cast<std::size_t>(d)];
              const std::int64_t at = rest_block % axis.out * axis.stride - axis.pad_begin + rest_tap % axis.kernel * axis.dilation;
              rest_block /= axis.out;
              rest_tap /= axis.kernel;
              inside = inside && at >= 0 && at < axis.in;
              offset += at * stride;
              stride *= axis.in;
            }
            if (inside) sums[offset] = plus<Compute<T>>(sums[offset], load(from[tap * blocks + b]));
          }
        }
        T* to = pointer<T>(*y) + plane * *pixels;
        for (std::int64_t i = 0; i < *pixels; ++i) to[i] = store<T>(sums[i]);
      }
    }, *taps * blocks * 4);
  });
  return {};
}

// ---- MaxUnpool ------------------------------------------------------------------------------------------------------

// The shape that kernel, strides and pads lead back to.
Result<Shape> unpooled_shape(const Node& node, const WindowAttributes& attributes, const Shape& x) {
  const std::size_t rank = x.size() - 2;
  if (attributes.kernel.size() != rank || (!attributes.strides.empty() && attributes.strides.size() != rank) ||
      (!attributes.pads.empty() && attributes.pads.size() != 2 * rank)) {
    return corrupt(fmt::format("{}: kernel_shape, strides and pads do not go with an input of shape {}", where(node), to_string(x)));
  }
  Shape shape = {x[0], x[1]};
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t stride = attributes.strides.empty() ? 1 : attributes.strides[d];
    const std::int64_t pads = attributes.pads.empty() ? 0 : attributes.pads[d] + attributes.pads[rank + d];
    const auto reach = base::checked_mul(x[d + 2] - 1, stride);
    shape.push_back(reach ? *reach - pads + attributes.kernel[d] : -1);
  }
  if (base::checked_product(shape)) return shape;
  return corrupt(fmt::format("{}: an input of shape {} unpools to the shape {}", where(node), to_string(x), to_string(shape)));
}

Status infer_max_unpool(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  for (std::size_t i : {1, 2}) NARROW_RETURN_IF_ERROR(check_dtype(context, i, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, -1));
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype);
  if (context.has_input(2)) {
    if (auto dims = context.dims_value(2)) y = Type::tensor(x.dtype, *std::move(dims));
  } else if (const auto shape = x.static_shape()) {
    NARROW_TRY(const Shape out, unpooled_shape(node, attributes, *shape));
    y = Type::tensor(x.dtype, std::vector<Dim>(out.begin(), out.end()));
  } else if (x.ranked) {
    y = Type::tensor(x.dtype, std::vector<Dim>(x.dims.size()));
    std::copy_n(x.dims.begin(), 2, y.dims.begin());
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_max_unpool(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& indices = context.input(1);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() < 3 || indices.dtype() != DType::kS64 || indices.shape() != x.shape()) {
    return invalid_argument(fmt::format("{}: an input of shape {} with indices {}{}, expected rank 3 or more and s64 of the same shape", where(node),
                                        to_string(x.shape()), to_string(indices.dtype()), to_string(indices.shape())));
  }
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  NARROW_TRY(const Shape pooled_from, unpooled_shape(node, attributes, x.shape()));
  Shape shape = pooled_from;
  if (context.has_input(2)) {
    if (context.input(2).dtype() != DType::kS64) return dtype_error(node, context.input(2).dtype());
    shape = context.input(2).to_int64();
    bool fits = shape.size() == pooled_from.size() && base::checked_product(shape).has_value();
    for (std::size_t d = 0; fits && d < shape.size(); ++d) fits = shape[d] >= pooled_from[d];
    if (!fits) return invalid_argument(fmt::format("{}: output_shape is {}, expected {} or more", where(node), to_string(shape), to_string(pooled_from)));
  }
  // Indices count in the shape that was pooled from, which lies at the front corner of the output.
  const std::vector<std::int64_t> strides = strides_of(shape);
  const std::int64_t size = *base::checked_product(pooled_from);
  const auto place = [&](std::int64_t index) {
    std::int64_t to = 0;
    for (std::size_t d = shape.size(); d-- > 0;) {
      to += index % pooled_from[d] * strides[d];
      index /= pooled_from[d];
    }
    return to;
  };
  const std::int64_t* at = pointer<std::int64_t>(indices);
  const auto bad = std::find_if(at, at + x.size(), [&](std::int64_t index) { return index < 0 || index >= size; });
  if (bad != at + x.size()) {
    return invalid_argument(fmt::format("{}: index {} is outside the unpooled shape {}", where(node), *bad, to_string(pooled_from)));
  }
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
    std::fill_n(pointer<T>(*y), y->size(), T{});
    for (std::int64_t i = 0; i < x.size(); ++i) pointer<T>(*y)[place(at[i])] = pointer<T>(x)[i];
  });
  return {};
}

// ---- CenterCropPad --------------------------------------------------------------------------------------------------

Result<std::vector<int>> crop_axes(const Node& node, int rank) {
  if (node.has("axes")) return normalize_axes(node, node.get_ints("axes"), rank);
  std::vector<int> all;
  for (int d = 0; d < rank; ++d) all.push_back(d);
  return all;
}

Status infer_center_crop_pad(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = x;
  if (x.ranked) {
    NARROW_TRY(const std::vector<int> axes, crop_axes(context.node(), x.rank()));
    const auto sizes = context.dims_value(1);
    for (std::size_t i = 0; i < axes.size(); ++i) y.dims[static_cast<std::size_t>(axes[i])] = sizes && i < sizes->size() ? (*sizes)[i] : Dim();
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_center_crop_pad(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kIndexTypes, context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
  const std::vector<std::int64_t> sizes = context.input(1).to_int64();
  NARROW_TRY(const std::vector<int> axes, crop_axes(node, x.rank()));
  if (sizes.size() != axes.size()) return invalid_argument(fmt::format("{}: {} sizes for {} axes", where(node), sizes.size(), axes.size()));
  Shape shape = x.shape();
  for (std::size_t i = 0; i < axes.size(); ++i) shape[static_cast<std::size_t>(axes[i])] = sizes[i];
  if (!base::checked_product(shape)) return invalid_argument(fmt::format("{}: the shape {} is negative or overflows", where(node), to_string(shape)));
  NARROW_TRY(MovedOutput y, MovedOutput::create(context, 0, x.dtype(), shape));
  y.fill(nullptr);
  const std::vector<std::int64_t> from = strides_of(x.shape()), to = strides_of(shape);
  std::int64_t source = 0, target = 0;
  std::vector<StridedAxis> copy;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const std::int64_t in = x.shape()[d], out = shape[d];
    if (out < in) source += (in - out) / 2 * from[d];
    else target += (out - in) / 2 * to[d];
    copy.push_back({std::min(in, out), from[d], to[d]});
  }
  y.copy(x, source, target, std::move(copy));
  y.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Col2Im", .since = 18, .min_inputs = 3, .max_inputs = 3, .infer = infer_col2im, .run = run_col2im},
    Operator{.name = "MaxUnpool", .since = 22, .min_inputs = 2, .max_inputs = 3, .infer = infer_max_unpool, .run = run_max_unpool},
    Operator{.name = "CenterCropPad", .since = 18, .min_inputs = 2, .max_inputs = 2, .infer = infer_center_crop_pad, .run = run_center_crop_pad},
};

}  // namespace

std::span<const Operator> rearrange_operators() { return kOperators; }

}  // namespace narrow::operators
