// DeformConv: convolution whose taps are moved by an offset each, and read between pixels
// (Dai et al. 2017, arXiv:1703.06211; with a mask, Zhu et al. 2018, arXiv:1811.11168).
#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/sampling.h"
#include "operators/window.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;
using kernels::Window;

enum Input : std::size_t { kX, kWeight, kOffset, kBias, kMask };
constexpr int kMaxSpatialRank = 3;

Status infer_deform_conv(InferContext& context) {
  const Node& node = context.node();
  for (std::size_t i : {kX, kWeight, kOffset, kMask}) NARROW_RETURN_IF_ERROR(check_rank(context, i, 3, -1));
  NARROW_RETURN_IF_ERROR(check_dtype(context, kX, kFloatTypes));
  NARROW_TRY([[maybe_unused]] const DType dtype, common_dtype(context, std::array<std::size_t, 5>{kX, kWeight, kOffset, kBias, kMask}));
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  const Type& x = context.input(kX);
  const Type& w = context.input(kWeight);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = Type::tensor(x.dtype);
  if (x.ranked) {
    y.ranked = true;
    y.dims.assign(x.dims.size(), Dim());
    y.dims[0] = x.dims[0];
    if (w.ranked) y.dims[1] = w.dims[0];
    std::vector<std::int64_t> kernel = attributes.kernel;
    if (const auto shape = w.static_shape()) kernel.assign(shape->begin() + 2, shape->end());
    if (!kernel.empty()) {
      NARROW_TRY(const std::vector<Dim> out, window_output_dims(node, attributes, std::span(x.dims).subspan(2), kernel, false));
      std::copy(out.begin(), out.end(), y.dims.begin() + 2);
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

// Sizes that were checked against each other.
struct Problem {
  std::int64_t batch, channels, filters, groups, offset_groups, taps, in, out;
  std::vector<Window> axes;
};

Result<Problem> read_problem(const Node& node, const RunContext& context) {
  const Tensor& x = context.input(kX);
  const Tensor& w = context.input(kWeight);
  const Tensor& offset = context.input(kOffset);
  const int rank = x.rank() - 2;
  if (rank < 1 || rank > kMaxSpatialRank) return unsupported(fmt::format("{}: the input has rank {}, expected 3 to {}", where(node), x.rank(), kMaxSpatialRank + 2));
  const auto fail = [&](const char* what, const Tensor& tensor) {
    return invalid_argument(fmt::format("{}: {} has shape {}, which does not go with an input of shape {} and a weight of shape {}", where(node), what,
                                        to_string(tensor.shape()), to_string(x.shape()), to_string(w.shape())));
  };
  if (w.rank() != x.rank()) return fail("the weight", w);
  Problem p{};
  p.batch = x.shape()[0];
  p.channels = x.shape()[1];
  p.filters = w.shape()[0];
  p.groups = node.get_int("group", 1);
  p.offset_groups = node.get_int("offset_group", 1);
  if (p.groups < 1 || p.offset_groups < 1 || p.filters % p.groups != 0 || p.channels % p.offset_groups != 0 || p.channels % p.groups != 0 ||
      p.channels / p.groups != w.shape()[1]) {
    return corrupt(fmt::format("{}: {} channels and {} filters in {} groups and {} offset groups, with a weight of shape {}", where(node), p.channels,
                               p.filters, p.groups, p.offset_groups, to_string(w.shape())));
  }
  NARROW_TRY(const WindowAttributes attributes, read_window(node));
  const std::vector<std::int64_t> kernel(w.shape().begin() + 2, w.shape().end());
  NARROW_TRY(p.axes, resolve_window(node, attributes, std::span(x.shape()).subspan(2), kernel));
  p.taps = p.in = p.out = 1;
  Shape shape = {p.batch, 0};
  for (const Window& axis : p.axes) {
    p.taps *= axis.kernel;
    p.in *= axis.in;
    p.out *= axis.out;
    shape.push_back(axis.out);
  }
  const auto of_taps = base::checked_mul(p.offset_groups, p.taps);
  if (!of_taps) return fail("the weight", w);
  shape[1] = *of_taps * rank;
  if (offset.shape() != shape) return fail("the offset", offset);
  shape[1] = *of_taps;
  if (context.has_input(kMask) && context.input(kMask).shape() != shape) return fail("the mask", context.input(kMask));
  if (context.has_input(kBias) && context.input(kBias).shape() != Shape{p.filters}) return fail("the bias", context.input(kBias));
  return p;
}

// columns[channel * taps + tap, position - first]: what each tap reads for the output positions of one image.
void gather_columns(const Problem& p, const float* x, const float* offset, const float* mask, std::int64_t first, std::int64_t count,
                    float* columns, base::ThreadPool& pool) {
  const std::int64_t rank = static_cast<std::int64_t>(p.axes.size()), per_group = p.channels / p.offset_groups;
  std::vector<std::int64_t> sizes;
  for (const Window& axis : p.axes) sizes.push_back(axis.in);
  const Sampler<float> sampler(sizes, Interpolation::kLinear, Border::kZeros, true);
  pool.parallel_for(static_cast<std::size_t>(p.offset_groups * p.taps), [&](std::size_t task, int) {
    const std::int64_t group = static_cast<std::int64_t>(task) / p.taps, tap = static_cast<std::int64_t>(task) % p.taps;
    std::vector<Tap<float>> found;
    for (std::int64_t i = 0; i < count; ++i) {
      float at[kMaxSpatialRank];
      std::int64_t rest_out = first + i, rest_tap = tap;
      for (std::int64_t d = rank; d-- > 0;) {
        const Window& axis = p.axes[static_cast<std::size_t>(d)];
        const std::int64_t start = rest_out % axis.out * axis.stride - axis.pad_begin + rest_tap % axis.kernel * axis.dilation;
        rest_out /= axis.out;
        rest_tap /= axis.kernel;
        at[d] = static_cast<float>(start) + offset[(static_cast<std::int64_t>(task) * rank + d) * p.out + first + i];
      }
      sampler.find(at, found);
      const float weight = mask == nullptr ? 1.0f : mask[static_cast<std::int64_t>(task) * p.out + first + i];
      for (std::int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        float sum = 0;
        for (const Tap<float>& t : found) sum += t.weight * x[c * p.in + t.offset];
        columns[(c * p.taps + tap) * count + i] = sum * weight;
      }
    }
  });
}

Status run_deform_conv(const Node& node, RunContext& context) {
  NARROW_TRY(const Problem p, read_problem(node, context));
  Shape shape = {p.batch, p.filters};
  for (const Window& axis : p.axes) shape.push_back(axis.out);
  const auto open = [&](std::size_t i, const char* what) -> Result<FloatInput> {
    if (!context.has_input(i)) return FloatInput();
    return FloatInput::open(context.input(i), what);
  };
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, context.input(kX).dtype(), shape));
  NARROW_TRY(const FloatInput x, open(kX, "the input"));
  NARROW_TRY(const FloatInput w, open(kWeight, "the weight"));
  NARROW_TRY(const FloatInput offset, open(kOffset, "the offset"));
  NARROW_TRY(const FloatInput bias, open(kBias, "the bias"));
  NARROW_TRY(const FloatInput mask, open(kMask, "the mask"));
  if (y.size() == 0) return {};
  for (std::int64_t i = 0; i < p.batch * p.filters; ++i) {
    std::fill_n(y.data() + i * p.out, p.out, bias.size() == 0 ? 0.0f : bias.data()[i % p.filters]);
  }
  const std::int64_t rows = p.channels * p.taps, group_rows = rows / p.groups, group_filters = p.filters / p.groups;
  // Positions in tiles whose columns stay in the second-level cache where that leaves a matrix worth multiplying.
  const std::int64_t tile = std::min(p.out, std::clamp<std::int64_t>((1 << 18) / std::max<std::int64_t>(rows, 1), 32, 1024));
  std::vector<float> columns(static_cast<std::size_t>(rows * tile));
  for (std::int64_t n = 0; n < p.batch && p.in != 0 && rows != 0; ++n) {
    for (std::int64_t first = 0; first < p.out; first += tile) {
      const std::int64_t count = std::min(tile, p.out - first);
      gather_columns(p, x.data() + n * p.channels * p.in, offset.data() + n * p.offset_groups * p.taps * static_cast<std::int64_t>(p.axes.size()) * p.out,
                     mask.size() == 0 ? nullptr : mask.data() + n * p.offset_groups * p.taps * p.out, first, count, columns.data(), context.pool());
      for (std::int64_t g = 0; g < p.groups; ++g) {
        NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, false, group_filters, count, group_rows, 1, w.data() + g * group_filters * group_rows, group_rows,
                                                 columns.data() + g * group_rows * count, count, 1,
                                                 y.data() + (n * p.filters + g * group_filters) * p.out + first, p.out, context.pool().threads()));
      }
    }
  }
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "DeformConv", .since = 22, .min_inputs = 3, .max_inputs = 5, .infer = infer_deform_conv, .run = run_deform_conv},
};

}  // namespace

std::span<const Operator> deform_conv_operators() { return kOperators; }

}  // namespace narrow::operators
