// Slice: a box of a tensor, with steps that may be negative.
#include <array>
#include <limits>

#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

struct Range {
  std::int64_t start = 0, step = 1, count = 0;
};

// Elements that start:end:step takes from a dimension, numpy's rules. Precondition: step != 0.
Range range_of(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) {
  const auto place = [size](std::int64_t v, std::int64_t low, std::int64_t high) {
    if (v < 0) v += size;  // cannot overflow: size >= 0
    return std::clamp(v, low, high);
  };
  if (step > 0) {
    const std::int64_t from = place(start, 0, size), to = place(end, 0, size);
    return {from, step, to > from ? (to - from - 1) / step + 1 : 0};
  }
  if (size == 0) return {0, step, 0};
  // From the last element down; -1 stands for "before the first". Negating the smallest step would overflow.
  const std::int64_t from = place(start, 0, size - 1), to = place(end, -1, size - 1);
  const std::int64_t stride = step == std::numeric_limits<std::int64_t>::min() ? std::numeric_limits<std::int64_t>::max() : -step;
  return {from, step, from > to ? (from - to - 1) / stride + 1 : 0};
}

// The four lists, checked against each other; axes normalized to the rank.
struct Boxes {
  std::vector<std::int64_t> starts, ends, steps;
  std::vector<int> axes;
};

Result<Boxes> boxes(const Node& node, std::vector<std::int64_t> starts, std::vector<std::int64_t> ends,
                    std::optional<std::vector<std::int64_t>> axes, std::optional<std::vector<std::int64_t>> steps,
                    int rank) {
  const std::size_t count = starts.size();
  if (ends.size() != count || (axes && axes->size() != count) || (steps && steps->size() != count)) {
    return corrupt(fmt::format("{}: starts, ends, axes and steps have {}, {}, {} and {} numbers, expected the same number",
                               where(node), count, ends.size(), axes ? axes->size() : count, steps ? steps->size() : count));
  }
  if (!axes) {
    axes.emplace();
    for (std::size_t i = 0; i < count; ++i) axes->push_back(static_cast<std::int64_t>(i));
  }
  if (!steps) steps.emplace(count, 1);
  for (std::int64_t step : *steps) {
    if (step == 0) return corrupt(fmt::format("{}: a step is 0", where(node)));
  }
  NARROW_TRY(auto normal, normalize_axes(node, *axes, rank));
  return Boxes{std::move(starts), std::move(ends), *std::move(steps), std::move(normal)};
}

Status infer_slice(InferContext& context) {
  const Node& node = context.node();
  for (std::size_t i = 1; i < 5; ++i) NARROW_RETURN_IF_ERROR(check_dtype(context, i, kIndexTypes));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = x;
  const auto starts = known_integers(context, 1), ends = known_integers(context, 2);
  const auto axes = known_integers(context, 3), steps = known_integers(context, 4);
  if (!x.ranked) {
    context.set_output(0, out);
    return {};
  }
  const bool told = starts && ends && (axes || !context.has_input(3)) && (steps || !context.has_input(4));
  if (!told) {
    // Without the axes any dimension may shrink; with them only those.
    const std::vector<Dim> kept = out.dims;
    out.dims.assign(kept.size(), Dim());
    if (axes) {
      NARROW_TRY(const auto normal, normalize_axes(node, *axes, x.rank()));
      out.dims = kept;
      for (int a : normal) out.dims[a] = Dim();
    }
    context.set_output(0, out);
    return {};
  }
  NARROW_TRY(const Boxes box, boxes(node, *starts, *ends, context.has_input(3) ? axes : std::nullopt,
                                    context.has_input(4) ? steps : std::nullopt, x.rank()));
  for (std::size_t i = 0; i < box.axes.size(); ++i) {
    Dim& dim = out.dims[box.axes[i]];
    if (dim.known()) {
      dim = Dim(range_of(dim.size, box.starts[i], box.ends[i], box.steps[i]).count);
    } else if (!(box.starts[i] == 0 && box.steps[i] == 1 && box.ends[i] >= std::numeric_limits<std::int32_t>::max())) {
      dim = Dim();
    }
  }
  context.set_output(0, out);
  const auto values = context.dims_value(0);
  if (!values || x.rank() != 1) return {};
  std::vector<Dim> chosen = *values;
  if (!box.axes.empty()) {
    const Range range = range_of(static_cast<std::int64_t>(values->size()), box.starts[0], box.ends[0], box.steps[0]);
    chosen.clear();
    for (std::int64_t i = 0; i < range.count; ++i) chosen.push_back((*values)[range.start + i * range.step]);
  }
  context.set_dims_value(0, std::move(chosen));
  return {};
}

Status run_slice(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  std::array<std::optional<std::vector<std::int64_t>>, 5> lists;
  for (std::size_t i = 1; i < 5; ++i) {
    if (!context.has_input(i)) continue;
    if (!contains(kIndexTypes, context.input(i).dtype())) return dtype_error(node, context.input(i).dtype());
    lists[i] = context.input(i).to_int64();
  }
  NARROW_TRY(const Boxes box, boxes(node, *lists[1], *lists[2], lists[3], lists[4], x.rank()));
  std::vector<Range> ranges;
  for (std::int64_t dim : x.shape()) ranges.push_back({0, 1, dim});
  for (std::size_t i = 0; i < box.axes.size(); ++i) {
    ranges[box.axes[i]] = range_of(x.shape()[box.axes[i]], box.starts[i], box.ends[i], box.steps[i]);
  }
  Shape shape;
  for (const Range& range : ranges) shape.push_back(range.count);
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const auto from = strides_of(x.shape()), to = strides_of(shape);
  std::vector<StridedAxis> axes;
  std::int64_t start = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    start += ranges[d].start * from[d];
    // A step is only taken when there is a second element, so its product with the stride is in range then.
    axes.push_back({shape[d], shape[d] > 1 ? ranges[d].step * from[d] : 0, to[d]});
  }
  if (x.size() != 0) out.copy(x, start, 0, std::move(axes));
  out.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Slice", .since = 13, .min_inputs = 3, .max_inputs = 5, .infer = infer_slice, .run = run_slice,
             .quant = kTransportRule},
};

}  // namespace

std::span<const Operator> slice_operators() { return kOperators; }

}  // namespace narrow::operators
