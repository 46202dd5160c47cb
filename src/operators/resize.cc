// Resize.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <optional>

#include "base/checked.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/resize_axis.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using AspectRatio = ResizeAttributes::AspectRatio;

constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMostElements = std::int64_t{1} << 40;

Error bad_node(const Node& node, std::string what) {
  return corrupt(fmt::format("node '{}' ({}): {}", node.name, node.op_type, what));
}

// The axes that scales, sizes and roi speak of.
Result<std::vector<std::size_t>> read_axes(const Node& node, std::size_t rank) {
  std::vector<std::size_t> axes;
  if (!node.has("axes")) {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(i);
    return axes;
  }
  const auto signed_rank = static_cast<std::int64_t>(rank);
  for (std::int64_t axis : node.get_ints("axes")) {
    if (axis < -signed_rank || axis >= signed_rank) return bad_node(node, fmt::format("axis {} is out of range for rank {}", axis, rank));
    const auto resolved = static_cast<std::size_t>(axis < 0 ? axis + signed_rank : axis);
    if (std::find(axes.begin(), axes.end(), resolved) != axes.end()) return bad_node(node, fmt::format("axis {} is listed twice", axis));
    axes.push_back(resolved);
  }
  return axes;
}

struct AxisPlan {
  std::int64_t out = 0;
  float scale = 1;
};

Status check_count(const Node& node, const char* what, std::size_t found, std::size_t expected) {
  if (found == expected) return {};
  return bad_node(node, fmt::format("{} has {} elements, expected {}", what, found, expected));
}

// Output sizes of all axes. Exactly one of `scales` and `sizes` is non-empty; negative entries of `in` are unknown and
// give -1 (unless sizes say otherwise).
Result<std::vector<AxisPlan>> plan_axes(const Node& node, const ResizeAttributes& attributes, std::span<const std::int64_t> in,
                                        std::span<const float> scales, std::span<const std::int64_t> sizes) {
  NARROW_TRY(const std::vector<std::size_t> axes, read_axes(node, in.size()));
  std::vector<AxisPlan> plans(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) plans[i].out = in[i];
  if (scales.empty() == sizes.empty()) return bad_node(node, "needs either scales or sizes");
  if (!scales.empty()) {
    NARROW_RETURN_IF_ERROR(check_count(node, "scales", scales.size(), axes.size()));
    for (std::size_t i = 0; i < axes.size(); ++i) {
      AxisPlan& plan = plans[axes[i]];
      plan.scale = scales[i];
      if (!(plan.scale > 0) || !std::isfinite(plan.scale)) return bad_node(node, fmt::format("a scale is {}, expected a positive number", plan.scale));
      if (in[axes[i]] < 0) {
        if (plan.scale != 1) plan.out = -1;
        continue;
      }
      const float exact = std::floor(plan.scale * static_cast<float>(in[axes[i]]));
      if (!(exact <= static_cast<float>(kLargest))) return bad_node(node, fmt::format("scale {} makes dimension {} too large", plan.scale, in[axes[i]]));
      plan.out = plan.scale == 1 ? in[axes[i]] : static_cast<std::int64_t>(exact);
    }
    return plans;
  }
  NARROW_RETURN_IF_ERROR(check_count(node, "sizes", sizes.size(), axes.size()));
  std::optional<float> common;  // the one scale of a kept aspect ratio
  bool unknown = false;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (sizes[i] > kLargest) return bad_node(node, fmt::format("a size is {}, expected at most {}", sizes[i], kLargest));
    unknown = unknown || in[axes[i]] < 0 || sizes[i] < 0;
    if (in[axes[i]] <= 0 || sizes[i] < 0) continue;
    const float scale = static_cast<float>(sizes[i]) / static_cast<float>(in[axes[i]]);
    if (!common || (attributes.aspect_ratio == AspectRatio::kNotLarger ? scale < *common : scale > *common)) common = scale;
  }
  for (std::size_t i = 0; i < axes.size(); ++i) {
    AxisPlan& plan = plans[axes[i]];
    const std::int64_t size = in[axes[i]];
    if (attributes.aspect_ratio == AspectRatio::kStretch) {
      plan.out = sizes[i];
      if (size > 0 && sizes[i] > 0) plan.scale = static_cast<float>(sizes[i]) / static_cast<float>(size);
    } else if (unknown || !common) {
      plan.out = -1;
    } else {
      plan.scale = *common;
      const float exact = std::floor(*common * static_cast<float>(size) + 0.5f);
      if (!(exact <= static_cast<float>(kLargest))) return bad_node(node, fmt::format("the kept aspect ratio makes dimension {} too large", size));
      plan.out = static_cast<std::int64_t>(exact);
    }
  }
  return plans;
}

Status infer_resize(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  NARROW_TRY(const ResizeAttributes attributes, read_resize(node));
  Type y = Type::tensor(x.dtype);
  if (x.ranked) {
    y.ranked = true;
    y.dims.resize(x.dims.size());
    NARROW_TRY([[maybe_unused]] const std::vector<std::size_t> axes, read_axes(node, x.dims.size()));
    std::vector<std::int64_t> in;
    for (const Dim& dim : x.dims) in.push_back(dim.size);
    std::vector<float> scales;
    std::vector<std::int64_t> sizes;
    if (const Tensor* constant = context.constant(2); constant != nullptr && is_float(constant->dtype())) scales = constant->to_float();
    const auto wanted = context.dims_value(3);
    if (scales.empty() && wanted) {
      for (const Dim& dim : *wanted) sizes.push_back(dim.size);
    }
    if (scales.empty() != sizes.empty()) {
      NARROW_TRY(const std::vector<AxisPlan> plans, plan_axes(node, attributes, in, scales, sizes));
      for (std::size_t i = 0; i < plans.size(); ++i) {
        if (plans[i].out >= 0) y.dims[i] = plans[i].out;
        if (plans[i].out < 0 && !sizes.empty() && attributes.aspect_ratio == AspectRatio::kStretch) {
          for (std::size_t k = 0; k < axes.size(); ++k) {
            if (axes[k] == i) y.dims[i] = (*wanted)[k];
          }
        }
        const bool untouched = std::find(axes.begin(), axes.end(), i) == axes.end() || (!scales.empty() && plans[i].scale == 1);
        if (plans[i].out < 0 && untouched) y.dims[i] = x.dims[i];
      }
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

class ResizeKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<ResizeKernel>();
    kernel->node_ = *context.node;
    NARROW_TRY(kernel->attributes_, read_resize(*context.node));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  Status run(RunContext& context) override {
    try {
      return resize(context);
    } catch (const std::bad_alloc&) {
      return resource_exhausted(fmt::format("node '{}' (Resize): out of memory", node_.name));
    }
  }

 private:
  Status resize(RunContext& context) {
    const Tensor& x = context.input(0);
    NARROW_RETURN_IF_ERROR(make_tables(context));
    Shape shape;
    for (const kernels::AxisTable& table : tables_) shape.push_back(table.out);
    if (attributes_.mode == ResizeAttributes::Mode::kNearest && !any_outside()) {
      if (bits_of(x.dtype()) < 8) return unsupported(fmt::format("node '{}' (Resize): element type {}", node_.name, to_string(x.dtype())));
      NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
      if (y->size() == 0) return {};
      if (shape.empty()) {
        std::copy_n(static_cast<const std::uint8_t*>(x.raw()), x.bytes(), static_cast<std::uint8_t*>(y->mutable_raw()));
      } else {
        kernels::gather_axes(x.raw(), tables_, static_cast<std::size_t>(bits_of(x.dtype()) / 8), y->mutable_raw(), context.pool());
      }
      return {};
    }
    if (!is_float(x.dtype())) return resize_integers(context, shape);
    NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, x.dtype(), shape));
    NARROW_TRY(const FloatInput source, FloatInput::open(x, "the input"));
    if (y.size() == 0) return {};
    NARROW_RETURN_IF_ERROR(interpolate(source.data(), x.size(), y.data(), y.size(), context.pool()));
    y.store();
    return {};
  }

  // Integers are interpolated in f32 and, as the runtimes do, cut towards zero; with antialiasing each axis rounds.
  Status resize_integers(RunContext& context, const Shape& shape) {
    const Tensor& x = context.input(0);
    NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
    if (y->size() == 0) return {};
    const std::vector<float> source = x.to_float();
    std::vector<float> result(static_cast<std::size_t>(y->size()));
    NARROW_RETURN_IF_ERROR(interpolate(source.data(), x.size(), result.data(), y->size(), context.pool(), attributes_.antialias));
    const auto store = [&]<typename T>(std::span<T> out) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<T>(std::clamp(static_cast<double>(result[i]), static_cast<double>(std::numeric_limits<T>::min()), static_cast<double>(std::numeric_limits<T>::max())));
      }
    };
    switch (x.dtype()) {
      case DType::kU8: store(y->mutable_data<std::uint8_t>()); return {};
      case DType::kS8: store(y->mutable_data<std::int8_t>()); return {};
      case DType::kS32: store(y->mutable_data<std::int32_t>()); return {};
      default: return unsupported(fmt::format("node '{}' (Resize): interpolation of {}", node_.name, to_string(x.dtype())));
    }
  }

  bool any_outside() const {
    for (const kernels::AxisTable& table : tables_) {
      if (std::find(table.outside.begin(), table.outside.end(), true) != table.outside.end()) return true;
    }
    return false;
  }

  // The tables for this input, made anew only when shapes or parameters changed.
  Status make_tables(RunContext& context) {
    const Tensor& x = context.input(0);
    std::vector<float> scales, roi;
    std::vector<std::int64_t> sizes;
    if (context.has_input(1) && is_float(context.input(1).dtype())) roi = context.input(1).to_float();
    if (context.has_input(2) && is_float(context.input(2).dtype())) scales = context.input(2).to_float();
    if (context.has_input(3) && is_integer(context.input(3).dtype())) sizes = context.input(3).to_int64();
    if (!tables_.empty() && x.shape() == made_for_.shape && scales == made_for_.scales && sizes == made_for_.sizes && roi == made_for_.roi) return {};
    for (std::int64_t size : sizes) {
      if (size < 0) return bad_node(node_, fmt::format("a size is {}, expected 0 or more", size));
    }
    for (std::int64_t dim : x.shape()) {
      if (dim > kLargest) return unsupported(fmt::format("node '{}' (Resize): dimension {} is beyond {}", node_.name, dim, kLargest));
    }
    NARROW_TRY(const std::vector<AxisPlan> plans, plan_axes(node_, attributes_, x.shape(), scales, sizes));
    NARROW_TRY(const std::vector<std::size_t> axes, read_axes(node_, x.shape().size()));
    std::vector<float> begin(plans.size(), 0.0f), end(plans.size(), 1.0f);
    if (attributes_.coordinates == ResizeAttributes::Coordinates::kTfCropAndResize) {
      NARROW_RETURN_IF_ERROR(check_count(node_, "roi", roi.size(), 2 * axes.size()));
      for (std::size_t i = 0; i < axes.size(); ++i) {
        begin[axes[i]] = roi[i];
        end[axes[i]] = roi[axes.size() + i];
      }
    }
    tables_.clear();
    for (std::size_t i = 0; i < plans.size(); ++i) {
      kernels::AxisTable table;
      table.in = x.shape()[i];
      table.out = plans[i].out;
      if (table.out > 0 && table.in == 0) return bad_node(node_, "an empty dimension cannot be enlarged");
      // The output must fit before tables of its size are made.
      if (table.out > 0) {
        NARROW_TRY(table, make_axis_table(attributes_, table.in, table.out, plans[i].scale, begin[i], end[i]));
      }
      tables_.push_back(std::move(table));
    }
    made_for_ = {x.shape(), scales, roi, sizes};
    return {};
  }

  Status interpolate(const float* x, std::int64_t x_size, float* y, std::int64_t y_size, base::ThreadPool& pool, bool whole_numbers = false) const {
    // What shrinks comes first, then the last axis before the others. Axes that keep every element are skipped; the
    // last pass writes to y.
    std::vector<std::size_t> passes;
    for (std::size_t i = tables_.size(); i-- > 0;) {
      if (!is_unchanged(tables_[i])) passes.push_back(i);
    }
    std::stable_sort(passes.begin(), passes.end(), [&](std::size_t a, std::size_t b) {
      return tables_[a].out * tables_[b].in < tables_[b].out * tables_[a].in;
    });
    std::vector<std::int64_t> dims;
    for (const kernels::AxisTable& table : tables_) dims.push_back(table.in);
    std::vector<float> current, next;
    const float* from = x;
    for (std::size_t p = 0; p < passes.size(); ++p) {
      const kernels::AxisTable& table = tables_[passes[p]];
      std::int64_t outer = 1, inner = 1;
      for (std::size_t i = 0; i < dims.size(); ++i) (i < passes[p] ? outer : inner) *= i == passes[p] ? 1 : dims[i];
      float* to = y;
      if (p + 1 < passes.size()) {
        const std::int64_t sizes[] = {outer, table.out, inner};
        const auto size = base::checked_product(sizes);
        if (!size || *size > kMostElements) return resource_exhausted(fmt::format("node '{}' (Resize): an intermediate image is too large", node_.name));
        next.resize(static_cast<std::size_t>(*size));
        to = next.data();
      }
      kernels::resample_axis_f32(from, outer, table, inner, to, pool);
      if (whole_numbers) std::for_each_n(to, outer * table.out * inner, [](float& value) { value = std::floor(value + 0.5f); });
      dims[passes[p]] = table.out;
      current.swap(next);
      from = current.data();
    }
    if (passes.empty()) std::copy_n(x, x_size, y);
    extrapolate(y, y_size);
    return {};
  }

  static bool is_unchanged(const kernels::AxisTable& table) {
    if (table.in != table.out) return false;
    for (std::int64_t o = 0; o < table.out; ++o) {
      float own = table.taps == 1 ? (table.index[static_cast<std::size_t>(o)] == o ? 1.0f : 0.0f) : 0.0f;
      for (int t = 0; t < table.taps && table.taps > 1; ++t) {
        const auto at = static_cast<std::size_t>(o * table.taps + t);
        if (table.index[at] == o) own += table.weight[at];
      }
      if (own != 1.0f) return false;
    }
    return true;
  }

  void extrapolate(float* y, std::int64_t size) const {
    std::int64_t inner = size;
    for (const kernels::AxisTable& table : tables_) {
      inner /= table.out;
      if (table.outside.empty()) continue;
      for (std::int64_t i = 0; i < size / inner; ++i) {
        if (table.outside[static_cast<std::size_t>(i % table.out)]) std::fill_n(y + i * inner, inner, attributes_.extrapolation);
      }
    }
  }

  struct MadeFor {
    Shape shape;
    std::vector<float> scales, roi;
    std::vector<std::int64_t> sizes;
  };
  Node node_;
  ResizeAttributes attributes_;
  std::vector<kernels::AxisTable> tables_;  // one an axis
  MadeFor made_for_;
};

// Every mode may share its input's parameters: nearest moves codes, linear makes values between them but none outside
// their range, and what cubic overshoots saturates.
constexpr QuantRule kResizeRule = {.role = QuantRole::kTransport};

const std::array kOperators = {
    Operator{.name = "Resize", .since = 19, .min_inputs = 1, .max_inputs = 4, .infer = infer_resize, .prepare = ResizeKernel::prepare, .quant = kResizeRule},
};

}  // namespace

std::span<const Operator> resize_operators() { return kOperators; }

}  // namespace narrow::operators
