// Concat and Split: tensors laid end to end along one axis, and cut again.
#include <array>

#include "base/checked.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- Concat ---------------------------------------------------------------------------------------------------------

Result<std::int64_t> concat_axis(const Node& node) {
  if (!node.has("axis")) return corrupt(fmt::format("{}: the attribute axis is missing", where(node)));
  return node.get_int("axis", 0);
}

Status infer_concat(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const std::int64_t given, concat_axis(node));
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) all.push_back(i);
  NARROW_TRY(const DType dtype, common_dtype(context, all));
  // Every input's rank is that of the first known one.
  const Type* known = nullptr;
  bool complete = true;
  for (std::size_t i : all) {
    const Type& x = context.input(i);
    complete = complete && x.ranked;
    if (!x.ranked) continue;
    if (known == nullptr) known = &x;
    if (x.rank() != known->rank()) {
      return corrupt(fmt::format("{}: input {} is {}, expected rank {} as the inputs before it", where(node), i,
                                 graph::to_string(x), known->rank()));
    }
  }
  if (known == nullptr) {
    if (dtype != DType::kUndefined) context.set_output(0, Type::tensor(dtype));
    return {};
  }
  NARROW_TRY(const int axis, normalize_axis(node, given, known->rank()));
  std::vector<Dim> dims(known->dims.size());
  Dim sum(0);
  for (std::size_t i : all) {
    const Type& x = context.input(i);
    if (!x.ranked) continue;
    for (int d = 0; d < x.rank(); ++d) {
      if (d == axis) sum = add_dims(sum, x.dims[d]);
      else {
        NARROW_TRY(dims[d], unify_dims(node, dims[d], x.dims[d], fmt::format("dimension {}", d)));
      }
    }
  }
  dims[axis] = complete ? sum : Dim();
  if (dtype != DType::kUndefined) context.set_output(0, Type::tensor(dtype, dims));
  if (dims.size() != 1) return {};
  std::vector<Dim> values;
  for (std::size_t i : all) {
    const auto part = context.dims_value(i);
    if (!part) return {};
    values.insert(values.end(), part->begin(), part->end());
  }
  context.set_dims_value(0, std::move(values));
  return {};
}

Status run_concat(const Node& node, RunContext& context) {
  NARROW_TRY(const std::int64_t given, concat_axis(node));
  const Tensor& first = context.input(0);
  NARROW_TRY(const int axis, normalize_axis(node, given, first.rank()));
  Shape shape = first.shape();
  for (std::size_t i = 1; i < context.input_count(); ++i) {
    const Tensor& x = context.input(i);
    if (x.dtype() != first.dtype()) return dtype_error(node, x.dtype());
    bool fits = x.rank() == first.rank();
    for (int d = 0; fits && d < x.rank(); ++d) fits = d == axis || x.shape()[d] == shape[d];
    const auto sum = fits ? base::checked_add(shape[axis], x.shape()[axis]) : std::nullopt;
    if (!sum) {
      return invalid_argument(fmt::format("{}: input {} has shape {}, which does not fit {} along axis {}", where(node), i,
                                          to_string(x.shape()), to_string(first.shape()), axis));
    }
    shape[axis] = *sum;
  }
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, first.dtype(), shape));
  std::int64_t outer = 1, inner = 1, at = 0;
  for (int d = 0; d < axis; ++d) outer *= shape[d];
  for (std::size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
  for (std::size_t i = 0; i < context.input_count(); ++i) {
    const Tensor& x = context.input(i);
    const std::int64_t run = x.shape()[axis] * inner;
    out.copy(x, 0, at, {{outer, run, shape[axis] * inner}, {run, 1, 1}});
    at += run;
  }
  out.finish();
  return {};
}

// ---- Split ----------------------------------------------------------------------------------------------------------

// The sizes of the parts: the split input when given, else num_outputs equal parts, the last one smaller.
Result<std::vector<std::int64_t>> part_sizes(const Node& node, std::int64_t total,
                                             const std::vector<std::int64_t>* split) {
  const auto count = static_cast<std::int64_t>(node.outputs.size());
  if (split == nullptr) {
    const std::int64_t parts = node.get_int("num_outputs", count);
    if (parts != count) {
      return corrupt(fmt::format("{}: num_outputs is {} but the node has {} outputs", where(node), parts, count));
    }
    const std::int64_t size = base::ceil_div(total, count);
    std::vector<std::int64_t> sizes;
    for (std::int64_t i = 0; i < count; ++i) sizes.push_back(std::clamp<std::int64_t>(total - i * size, 0, size));
    return sizes;
  }
  if (static_cast<std::int64_t>(split->size()) != count) {
    return corrupt(fmt::format("{}: split has {} sizes but the node has {} outputs", where(node), split->size(), count));
  }
  std::int64_t sum = 0;
  for (std::int64_t size : *split) {
    const auto next = size < 0 ? std::nullopt : base::checked_add(sum, size);
    if (!next) return corrupt(fmt::format("{}: split {} has an impossible size", where(node), to_string(*split)));
    sum = *next;
  }
  if (sum != total) {
    return corrupt(fmt::format("{}: split {} adds up to {}, expected {}", where(node), to_string(*split), sum, total));
  }
  return *split;
}

Status infer_split(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  if (!x.ranked) {
    for (std::size_t i = 0; i < node.outputs.size(); ++i) context.set_output(i, Type::tensor(x.dtype));
    return {};
  }
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  const auto split = known_integers(context, 1);
  std::vector<Dim> sizes(node.outputs.size());
  if (x.dims[axis].known() && (split || !context.has_input(1))) {
    NARROW_TRY(const auto parts, part_sizes(node, x.dims[axis].size, split ? &*split : nullptr));
    sizes.assign(parts.begin(), parts.end());
  } else if (split && split->size() == sizes.size()) {
    sizes.assign(split->begin(), split->end());
  }
  const auto values = context.dims_value(0);
  std::size_t at = 0;
  bool told = values.has_value() && x.rank() == 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    Type part = x;
    part.dims[axis] = sizes[i];
    context.set_output(i, part);
    told = told && sizes[i].known() && at + static_cast<std::size_t>(sizes[i].size) <= values->size();
    if (!told) continue;
    const auto begin = values->begin() + static_cast<std::ptrdiff_t>(at);
    context.set_dims_value(i, {begin, begin + sizes[i].size});
    at += static_cast<std::size_t>(sizes[i].size);
  }
  return {};
}

Status run_split(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  std::vector<std::int64_t> split;
  if (context.has_input(1)) {
    if (!is_integer(context.input(1).dtype())) return dtype_error(node, context.input(1).dtype());
    split = context.input(1).to_int64();
  }
  NARROW_TRY(const auto sizes, part_sizes(node, x.shape()[axis], context.has_input(1) ? &split : nullptr));
  std::int64_t outer = 1, inner = 1, at = 0;
  for (int d = 0; d < axis; ++d) outer *= x.shape()[d];
  for (int d = axis + 1; d < x.rank(); ++d) inner *= x.shape()[d];
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t run = sizes[i] * inner;
    if (context.wants_output(i)) {
      Shape shape = x.shape();
      shape[axis] = sizes[i];
      NARROW_TRY(MovedOutput out, MovedOutput::create(context, i, x.dtype(), shape));
      out.copy(x, at, 0, {{outer, x.shape()[axis] * inner, run}, {run, 1, 1}});
      out.finish();
    }
    at += run;
  }
  return {};
}

const std::array kOperators = {
    Operator{.name = "Concat", .since = 13, .min_inputs = 1, .max_inputs = -1, .infer = infer_concat, .run = run_concat,
             .quant = {.role = QuantRole::kFollow, .all_inputs = true}},
    Operator{.name = "Split", .since = 18, .max_inputs = 2, .max_outputs = -1, .infer = infer_split, .run = run_split,
             .quant = kTransportRule},
};

}  // namespace

std::span<const Operator> concat_operators() { return kOperators; }

}  // namespace narrow::operators
