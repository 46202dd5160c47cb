// Pooling over regions of interest: RoiAlign, MaxRoiPool.
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/float_io.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// Output pixels and samples of one region: more is a mistake in the file or its regions, not a model.
constexpr std::int64_t kMaxPooled = 1 << 14;
constexpr double kMaxSamples = 1 << 26;

struct PooledSize {
  std::int64_t height, width;
};

Result<PooledSize> pooled_size(const Node& node) {
  PooledSize size{node.get_int("output_height", 1), node.get_int("output_width", 1)};
  if (node.op_type == "MaxRoiPool") {
    const std::vector<std::int64_t> given = node.get_ints("pooled_shape");
    if (given.size() != 2) return corrupt(fmt::format("{}: pooled_shape has {} values, expected 2", where(node), given.size()));
    size = {given[0], given[1]};
  }
  if (size.height >= 1 && size.width >= 1 && size.height <= kMaxPooled && size.width <= kMaxPooled) return size;
  return corrupt(fmt::format("{}: regions are pooled to {} by {}, expected 1 to {}", where(node), size.height, size.width, kMaxPooled));
}

// Regions are rows of `columns` numbers.
Status infer_roi(InferContext& context, std::int64_t columns) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 4, 4));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 2, 2));
  NARROW_TRY(const PooledSize size, pooled_size(node));
  const Type& x = context.input(0);
  const Type& rois = context.input(1);
  if (x.kind != TypeKind::kTensor) return {};
  if (rois.ranked) {
    NARROW_TRY([[maybe_unused]] const Dim row, unify_dims(node, rois.dims[1], Dim(columns), "the length of a region's row"));
  }
  context.set_output(0, Type::tensor(x.dtype, {rois.ranked ? rois.dims[0] : Dim(), x.ranked ? x.dims[1] : Dim(), Dim(size.height), Dim(size.width)}));
  return {};
}

Status infer_roi_align(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 2, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 2, 1, 1));
  return infer_roi(context, 4);
}

Status infer_max_roi_pool(InferContext& context) { return infer_roi(context, 5); }

Status check_shapes(const Node& node, const Tensor& x, const Tensor& rois, std::int64_t columns) {
  if (x.rank() == 4 && rois.rank() == 2 && rois.shape()[1] == columns) return {};
  return corrupt(fmt::format("{}: an input of shape {} and regions of shape {}, expected [N,C,H,W] and [regions,{}]", where(node),
                             to_string(x.shape()), to_string(rois.shape()), columns));
}

Result<std::int64_t> check_image(const Node& node, double image, std::int64_t batch) {
  if (image >= 0 && image < static_cast<double>(batch)) return static_cast<std::int64_t>(image);
  return invalid_argument(fmt::format("{}: a region of image {} in a batch of {}", where(node), image, batch));
}

// ---- RoiAlign -------------------------------------------------------------------------------------------------------

// Four pixels around a sample with their weights; all weights 0 beyond the image.
struct BilinearSample {
  std::int64_t offset[4] = {};
  float weight[4] = {};
};

BilinearSample bilinear(float y, float x, std::int64_t height, std::int64_t width) {
  BilinearSample s;
  if (!(y >= -1 && y <= static_cast<float>(height) && x >= -1 && x <= static_cast<float>(width))) return s;
  struct Axis {
    std::int64_t low, high;
    float t;
  };
  const auto split = [](float at, std::int64_t size) {
    at = std::max(at, 0.0f);
    const auto low = static_cast<std::int64_t>(at);
    return low >= size - 1 ? Axis{size - 1, size - 1, 0} : Axis{low, low + 1, at - static_cast<float>(low)};
  };
  const Axis v = split(y, height), h = split(x, width);
  const std::int64_t offsets[4] = {v.low * width + h.low, v.low * width + h.high, v.high * width + h.low, v.high * width + h.high};
  const float weights[4] = {(1 - v.t) * (1 - h.t), (1 - v.t) * h.t, v.t * (1 - h.t), v.t * h.t};
  std::copy_n(offsets, 4, s.offset);
  std::copy_n(weights, 4, s.weight);
  return s;
}

struct RoiGrid {
  float start_y, start_x, bin_height, bin_width;
  std::int64_t rows, columns;  // samples a bin
};

Result<RoiGrid> roi_grid(const Node& node, const float* roi, const PooledSize& size) {
  const std::string mode = node.get_string("coordinate_transformation_mode", "half_pixel");
  if (mode != "half_pixel" && mode != "output_half_pixel") {
    return corrupt(fmt::format("{}: coordinate_transformation_mode is '{}', expected half_pixel or output_half_pixel", where(node), mode));
  }
  const bool half_pixel = mode == "half_pixel";
  const float scale = node.get_float("spatial_scale", 1.0f), offset = half_pixel ? 0.5f : 0.0f;
  const float start_x = roi[0] * scale - offset, start_y = roi[1] * scale - offset;
  float width = roi[2] * scale - offset - start_x, height = roi[3] * scale - offset - start_y;
  if (!half_pixel) {
    width = std::max(width, 1.0f);
    height = std::max(height, 1.0f);
  }
  RoiGrid grid{start_y, start_x, height / static_cast<float>(size.height), width / static_cast<float>(size.width), 0, 0};
  const std::int64_t ratio = node.get_int("sampling_ratio", 0);
  const double rows = ratio > 0 ? static_cast<double>(ratio) : std::max(0.0, std::ceil(static_cast<double>(grid.bin_height)));
  const double columns = ratio > 0 ? static_cast<double>(ratio) : std::max(0.0, std::ceil(static_cast<double>(grid.bin_width)));
  const bool finite = std::isfinite(start_x) && std::isfinite(start_y) && std::isfinite(width) && std::isfinite(height);
  if (!finite || !(rows * columns * static_cast<double>(size.height * size.width) <= kMaxSamples)) {
    return resource_exhausted(fmt::format("{}: a region from ({}, {}) to ({}, {}) needs too many samples", where(node), roi[0], roi[1], roi[2], roi[3]));
  }
  grid.rows = static_cast<std::int64_t>(rows);
  grid.columns = static_cast<std::int64_t>(columns);
  return grid;
}

Status run_roi_align(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& rois = context.input(1);
  const Tensor& images = context.input(2);
  NARROW_RETURN_IF_ERROR(check_shapes(node, x, rois, 4));
  NARROW_TRY(const PooledSize size, pooled_size(node));
  const std::string mode = node.get_string("mode", "avg");
  if (mode != "avg" && mode != "max") return corrupt(fmt::format("{}: mode is '{}', expected avg or max", where(node), mode));
  const bool take_max = mode == "max";
  const std::int64_t count = rois.shape()[0], channels = x.shape()[1], height = x.shape()[2], width = x.shape()[3];
  if (images.dtype() != DType::kS64 || images.size() != count) {
    return invalid_argument(fmt::format("{}: batch_indices are {}{}, expected s64[{}]", where(node), to_string(images.dtype()), to_string(images.shape()), count));
  }
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), Shape{count, channels, size.height, size.width}));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput regions, FloatInput::open(rois, "the regions"));
  if (y.size() != 0 && height * width == 0) return invalid_argument(fmt::format("{}: an input of shape {} has nothing to pool", where(node), to_string(x.shape())));
  for (std::int64_t r = 0; r < count && y.size() != 0; ++r) {
    NARROW_TRY(const std::int64_t image, check_image(node, static_cast<double>(pointer<std::int64_t>(images)[r]), x.shape()[0]));
    NARROW_TRY(const RoiGrid grid, roi_grid(node, regions.data() + r * 4, size));
    std::vector<BilinearSample> samples;  // shared by all channels
    samples.reserve(static_cast<std::size_t>(size.height * size.width * grid.rows * grid.columns));
    for (std::int64_t bin = 0; bin < size.height * size.width; ++bin) {
      const float top = grid.start_y + static_cast<float>(bin / size.width) * grid.bin_height;
      const float left = grid.start_x + static_cast<float>(bin % size.width) * grid.bin_width;
      for (std::int64_t i = 0; i < grid.rows * grid.columns; ++i) {
        const float row = static_cast<float>(i / grid.columns) + 0.5f, column = static_cast<float>(i % grid.columns) + 0.5f;
        samples.push_back(bilinear(top + row * grid.bin_height / static_cast<float>(grid.rows), left + column * grid.bin_width / static_cast<float>(grid.columns), height, width));
      }
    }
    const std::int64_t bins = size.height * size.width, each = grid.rows * grid.columns;
    parallel_ranges(context.pool(), channels, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        const float* plane = source.data() + (image * channels + c) * height * width;
        float* out = y.data() + (r * channels + c) * bins;
        for (std::int64_t bin = 0; bin < bins; ++bin) {
          float sum = 0, most = -std::numeric_limits<float>::infinity();
          for (std::int64_t i = bin * each; i < (bin + 1) * each; ++i) {
            for (int k = 0; k < 4; ++k) {
              const float part = samples[i].weight[k] * plane[samples[i].offset[k]];
              sum += part;
              most = std::max(most, part);  // of the weighted pixels, as the standard's definition has it
            }
          }
          out[bin] = each == 0 ? 0 : take_max ? most : sum / static_cast<float>(each);
        }
      }
    }, bins * each * 8);
  }
  y.store();
  return {};
}

// ---- MaxRoiPool -----------------------------------------------------------------------------------------------------

Status run_max_roi_pool(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& rois = context.input(1);
  NARROW_RETURN_IF_ERROR(check_shapes(node, x, rois, 5));
  NARROW_TRY(const PooledSize size, pooled_size(node));
  const float scale = node.get_float("spatial_scale", 1.0f);
  const std::int64_t count = rois.shape()[0], channels = x.shape()[1], height = x.shape()[2], width = x.shape()[3];
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), Shape{count, channels, size.height, size.width}));
  NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
  NARROW_TRY(const FloatInput regions, FloatInput::open(rois, "the regions"));
  for (std::int64_t r = 0; r < count && y.size() != 0; ++r) {
    const float* roi = regions.data() + r * 5;
    NARROW_TRY(const std::int64_t image, check_image(node, static_cast<double>(roi[0]), x.shape()[0]));
    const auto corner = [&](int i) { return std::round(static_cast<double>(roi[i] * scale)); };
    for (int i = 1; i < 5; ++i) {
      if (!(std::fabs(corner(i)) < 1e9)) return invalid_argument(fmt::format("{}: region {} reaches to {}", where(node), r, roi[i]));
    }
    // The first and last pixel of a bin along an axis, cut to the image.
    struct Range {
      std::int64_t begin, end;
    };
    const auto range = [&](std::int64_t bin, std::int64_t bins, int first, int last, std::int64_t limit) {
      const float extent = static_cast<float>(std::max(corner(last) - corner(first) + 1, 1.0)) / static_cast<float>(bins);
      const auto place = [&](float at) { return std::clamp<std::int64_t>(static_cast<std::int64_t>(at) + static_cast<std::int64_t>(corner(first)), 0, limit); };
      return Range{place(std::floor(static_cast<float>(bin) * extent)), place(std::ceil(static_cast<float>(bin + 1) * extent))};
    };
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* plane = source.data() + (image * channels + c) * height * width;
      float* out = y.data() + (r * channels + c) * size.height * size.width;
      for (std::int64_t bin = 0; bin < size.height * size.width; ++bin) {
        const Range v = range(bin / size.width, size.height, 2, 4, height), h = range(bin % size.width, size.width, 1, 3, width);
        float most = v.begin < v.end && h.begin < h.end ? std::numeric_limits<float>::lowest() : 0;
        for (std::int64_t row = v.begin; row < v.end; ++row) {
          for (std::int64_t column = h.begin; column < h.end; ++column) most = std::max(most, plane[row * width + column]);
        }
        out[bin] = most;
      }
    }
  }
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "RoiAlign", .since = 22, .min_inputs = 3, .max_inputs = 3, .infer = infer_roi_align, .run = run_roi_align},
    Operator{.name = "MaxRoiPool", .since = 22, .min_inputs = 2, .max_inputs = 2, .infer = infer_max_roi_pool, .run = run_max_roi_pool},
};

}  // namespace

std::span<const Operator> roi_pooling_operators() { return kOperators; }

}  // namespace narrow::operators
