// Operators whose output size depends on the data: Unique and NonMaxSuppression.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "operators/dispatch.h"
#include "operators/families.h"
#include "operators/indices.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- Unique ---------------------------------------------------------------------------------------------------------

Status infer_unique(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = Type::tensor(x.dtype, {Dim()});
  if (node.has("axis")) {
    out = x;
    if (x.ranked) {
      NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
      out.dims[axis] = Dim();
    }
  }
  context.set_output(0, out);
  for (std::size_t i = 1; i < node.outputs.size(); ++i) context.set_output(i, Type::tensor(DType::kS64, {Dim()}));
  return {};
}

Status emit_integers(RunContext& context, std::size_t i, const std::vector<std::int64_t>& values) {
  if (!context.wants_output(i)) return {};
  NARROW_TRY(Tensor * y, context.output(i, DType::kS64, std::array{static_cast<std::int64_t>(values.size())}));
  std::copy(values.begin(), values.end(), pointer<std::int64_t>(*y));
  return {};
}

Status run_unique(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  Shape shape{x.size()};
  int axis = 0;
  if (node.has("axis")) {
    NARROW_TRY(axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
    shape = x.shape();
  }
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= shape[d];
  for (std::size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
  const std::int64_t size = shape[axis];
  if (size > x.size()) return unsupported(fmt::format("{}: items without elements", where(node)));
  // Items are slices along the axis; `order` sorts them, `first` and `inverse` follow from the groups of equal ones.
  std::vector<std::int64_t> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::int64_t> first, inverse(order.size()), counts;
  const bool known = dispatch(NumericOrBoolList{}, x.dtype(), [&]<typename T>() {
    const T* data = pointer<T>(x);
    const auto compare = [&](std::int64_t a, std::int64_t b) {
      for (std::int64_t o = 0; o < outer; ++o) {
        for (std::int64_t i = 0; i < inner; ++i) {
          const auto p = load(data[(o * size + a) * inner + i]), q = load(data[(o * size + b) * inner + i]);
          // NaN is last and equal to itself here: sorting needs an order.
          if (p < q || (p == p && q != q)) return -1;
          if (q < p || (q == q && p != p)) return 1;
        }
      }
      return 0;
    };
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return compare(a, b) < 0; });
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) {
        first.push_back(order[i]);
        counts.push_back(0);
      }
      ++counts.back();
      inverse[order[i]] = static_cast<std::int64_t>(first.size()) - 1;
    }
  });
  if (!known) return dtype_error(node, x.dtype());
  if (node.get_int("sorted", 1) == 0) {
    // In the order of first appearance.
    std::vector<std::int64_t> by_first(first.size()), place(first.size());
    std::iota(by_first.begin(), by_first.end(), 0);
    std::sort(by_first.begin(), by_first.end(), [&](std::int64_t a, std::int64_t b) { return first[a] < first[b]; });
    std::vector<std::int64_t> new_first, new_counts;
    for (std::size_t i = 0; i < by_first.size(); ++i) {
      place[by_first[i]] = static_cast<std::int64_t>(i);
      new_first.push_back(first[by_first[i]]);
      new_counts.push_back(counts[by_first[i]]);
    }
    for (std::int64_t& v : inverse) v = place[v];
    first = std::move(new_first);
    counts = std::move(new_counts);
  }
  std::vector<std::int64_t> positions;
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t item : first) positions.push_back((o * size + item) * inner);
  }
  shape[axis] = static_cast<std::int64_t>(first.size());
  NARROW_RETURN_IF_ERROR(take_elements(x, positions, shape, inner, context));
  NARROW_RETURN_IF_ERROR(emit_integers(context, 1, first));
  NARROW_RETURN_IF_ERROR(emit_integers(context, 2, inverse));
  return emit_integers(context, 3, counts);
}

// ---- NonMaxSuppression ----------------------------------------------------------------------------------------------

Status infer_nms(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, set_of({DType::kF32})));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kF32})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 3, 3));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 3, 3));
  const Type& boxes = context.input(0);
  if (boxes.ranked && boxes.dims[2].known() && boxes.dims[2].size != 4) {
    return corrupt(fmt::format("{}: boxes are {}, expected 4 numbers a box", where(context.node()), graph::to_string(boxes)));
  }
  context.set_output(0, Type::tensor(DType::kS64, {Dim(), Dim(3)}));
  return {};
}

struct Box {
  float low[2], high[2];
  float area() const { return (high[0] - low[0]) * (high[1] - low[1]); }
};

Box box_of(const float* v, bool centered) {
  if (centered) {  // [x, y, width, height]
    return {{v[0] - v[2] / 2, v[1] - v[3] / 2}, {v[0] + v[2] / 2, v[1] + v[3] / 2}};
  }
  // Two opposite corners, in either order.
  return {{std::min(v[0], v[2]), std::min(v[1], v[3])}, {std::max(v[0], v[2]), std::max(v[1], v[3])}};
}

bool overlaps(const Box& a, const Box& b, float threshold) {
  const float w = std::min(a.high[0], b.high[0]) - std::max(a.low[0], b.low[0]);
  const float h = std::min(a.high[1], b.high[1]) - std::max(a.low[1], b.low[1]);
  if (!(w > 0 && h > 0)) return false;
  const float shared = w * h, all = a.area() + b.area() - shared;
  return all > 0 && shared / all > threshold;
}

Result<double> number_input(const Node& node, RunContext& context, std::size_t i, double fallback) {
  if (!context.has_input(i)) return fallback;
  const Tensor& tensor = context.input(i);
  if (tensor.size() != 1 || !contains(kNumericTypes, tensor.dtype())) {
    return corrupt(fmt::format("{}: input {} must be one number", where(node), i));
  }
  return tensor.at_as_double(0);
}

Status run_nms(const Node& node, RunContext& context) {
  const Tensor& boxes = context.input(0);
  const Tensor& scores = context.input(1);
  if (boxes.dtype() != DType::kF32) return dtype_error(node, boxes.dtype());
  if (scores.dtype() != DType::kF32) return dtype_error(node, scores.dtype());
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes.shape()[2] != 4 || boxes.shape()[0] != scores.shape()[0] ||
      boxes.shape()[1] != scores.shape()[2]) {
    return invalid_argument(fmt::format("{}: boxes {} and scores {}, expected [batch,boxes,4] and [batch,classes,boxes]",
                                        where(node), to_string(boxes.shape()), to_string(scores.shape())));
  }
  NARROW_TRY(const double most, number_input(node, context, 2, 0));
  NARROW_TRY(const double overlap, number_input(node, context, 3, 0));
  NARROW_TRY(const double least, number_input(node, context, 4, -INFINITY));
  const bool centered = node.get_int("center_point_box", 0) != 0;
  const std::int64_t batch = boxes.shape()[0], count = boxes.shape()[1], classes = scores.shape()[1];
  std::vector<std::int64_t> chosen;
  for (std::int64_t b = 0; b < batch && count != 0; ++b) {
    for (std::int64_t c = 0; c < classes; ++c) {
      const float* score = pointer<float>(scores) + (b * classes + c) * count;
      std::vector<std::int64_t> order;
      for (std::int64_t i = 0; i < count; ++i) {
        if (score[i] > static_cast<float>(least)) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return score[i] > score[j]; });
      std::vector<Box> taken;
      for (std::int64_t i : order) {
        if (static_cast<double>(taken.size()) >= most) break;
        const Box box = box_of(pointer<float>(boxes) + (b * count + i) * 4, centered);
        const bool hidden = std::any_of(taken.begin(), taken.end(), [&](const Box& t) { return overlaps(box, t, static_cast<float>(overlap)); });
        if (hidden) continue;
        taken.push_back(box);
        chosen.insert(chosen.end(), {b, c, i});
      }
    }
  }
  NARROW_TRY(Tensor * y, context.output(0, DType::kS64, Shape{static_cast<std::int64_t>(chosen.size()) / 3, 3}));
  std::copy(chosen.begin(), chosen.end(), pointer<std::int64_t>(*y));
  return {};
}

const std::array kOperators = {
    Operator{.name = "Unique", .since = 11, .max_outputs = 4, .infer = infer_unique, .run = run_unique},
    Operator{.name = "NonMaxSuppression", .since = 11, .min_inputs = 2, .max_inputs = 5, .infer = infer_nms, .run = run_nms},
};

}  // namespace

std::span<const Operator> selection_operators() { return kOperators; }

}  // namespace narrow::operators
