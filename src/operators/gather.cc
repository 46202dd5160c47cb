// Taking elements by index: Gather, GatherElements, GatherND, Compress.
#include <array>
#include <cstring>

#include "base/checked.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/indices.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// ---- Gather ---------------------------------------------------------------------------------------------------------

Status infer_gather(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  const Type& x = context.input(0);
  const Type& at = context.input(1);
  if (x.kind != TypeKind::kTensor) return {};
  if (!x.ranked) {
    context.set_output(0, Type::tensor(x.dtype));
    return {};
  }
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  const auto chosen = known_integers(context, 1);
  if (chosen && x.dims[axis].known()) {
    for (std::int64_t i : *chosen) {
      NARROW_TRY([[maybe_unused]] const std::int64_t ok, normalize_index(node, i, x.dims[axis].size, axis));
    }
  }
  if (!at.ranked) {
    context.set_output(0, Type::tensor(x.dtype));
    return {};
  }
  std::vector<Dim> dims(x.dims.begin(), x.dims.begin() + axis);
  dims.insert(dims.end(), at.dims.begin(), at.dims.end());
  dims.insert(dims.end(), x.dims.begin() + axis + 1, x.dims.end());
  context.set_output(0, Type::tensor(x.dtype, std::move(dims)));
  const auto values = context.dims_value(0);
  if (!values || !chosen || x.rank() != 1 || at.rank() > 1) return {};
  std::vector<Dim> picked;
  for (std::int64_t i : *chosen) {
    NARROW_TRY(const std::int64_t index, normalize_index(node, i, static_cast<std::int64_t>(values->size()), axis));
    picked.push_back((*values)[index]);
  }
  context.set_dims_value(0, std::move(picked));
  return {};
}

template <std::size_t bytes>
void take_fixed(const char* from, char* to, const std::vector<std::int64_t>& rows, std::int64_t begin, std::int64_t end,
                std::int64_t axis_size) {
  const auto count = static_cast<std::int64_t>(rows.size());
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t row = i / count * axis_size + rows[i % count];
    std::memcpy(to + i * bytes, from + row * bytes, bytes);
  }
}

Status run_gather(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& at = context.input(1);
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  const std::int64_t axis_size = x.shape()[axis];
  NARROW_TRY(const auto rows, read_indices(node, at, axis_size, axis));
  Shape shape(x.shape().begin(), x.shape().begin() + axis);
  shape.insert(shape.end(), at.shape().begin(), at.shape().end());
  shape.insert(shape.end(), x.shape().begin() + axis + 1, x.shape().end());
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= x.shape()[d];
  for (int d = axis + 1; d < x.rank(); ++d) inner *= x.shape()[d];
  const auto count = static_cast<std::int64_t>(rows.size());
  if (x.dtype() == DType::kString || is_packed(x.dtype())) {
    NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
    for (std::int64_t i = 0; i < count; ++i) {
      out.copy(x, rows[i] * inner, i * inner, {{outer, axis_size * inner, count * inner}, {inner, 1, 1}});
    }
    out.finish();
    return {};
  }
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  if (y->size() == 0) return {};
  const std::size_t bytes = static_cast<std::size_t>(inner) * bits_of(x.dtype()) / 8;
  const char* from = static_cast<const char*>(x.raw());
  char* to = static_cast<char*>(y->mutable_raw());
  parallel_ranges(context.pool(), outer * count, [&](std::int64_t begin, std::int64_t end) {
    switch (bytes) {
      case 1: return take_fixed<1>(from, to, rows, begin, end, axis_size);
      case 2: return take_fixed<2>(from, to, rows, begin, end, axis_size);
      case 4: return take_fixed<4>(from, to, rows, begin, end, axis_size);
      case 8: return take_fixed<8>(from, to, rows, begin, end, axis_size);
    }
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / count * axis_size + rows[i % count];
      std::memcpy(to + static_cast<std::size_t>(i) * bytes, from + static_cast<std::size_t>(row) * bytes, bytes);
    }
  }, inner);
  return {};
}

// ---- GatherElements -------------------------------------------------------------------------------------------------

Status infer_gather_elements(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  const Type& x = context.input(0);
  const Type& at = context.input(1);
  if (x.kind != TypeKind::kTensor) return {};
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  if (x.ranked) {
    NARROW_TRY([[maybe_unused]] const int axis, normalize_axis(context.node(), context.node().get_int("axis", 0), x.rank()));
    NARROW_RETURN_IF_ERROR(check_rank(context, 1, x.rank(), x.rank()));
  }
  context.set_output(0, at.ranked ? Type::tensor(x.dtype, at.dims) : Type::tensor(x.dtype));
  return {};
}

Status run_gather_elements(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& at = context.input(1);
  NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
  NARROW_TRY(const auto positions, element_positions(node, x.shape(), at, axis));
  return take_elements(x, positions, at.shape(), 1, context);
}

// ---- GatherND -------------------------------------------------------------------------------------------------------

Status infer_gather_nd(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kIndexTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, -1));
  const Type& x = context.input(0);
  const Type& at = context.input(1);
  if (x.kind != TypeKind::kTensor) return {};
  if (!x.ranked || !at.ranked || !at.dims.back().known()) {
    context.set_output(0, Type::tensor(x.dtype));
    return {};
  }
  const std::int64_t depth = at.dims.back().size, batch = node.get_int("batch_dims", 0);
  NARROW_RETURN_IF_ERROR(check_nd(node, x.rank(), at.rank(), depth, batch));
  std::vector<Dim> dims(at.dims.begin(), at.dims.end() - 1);
  for (std::int64_t b = 0; b < batch; ++b) {
    NARROW_TRY(dims[b], unify_dims(node, x.dims[b], at.dims[b], fmt::format("batch dimension {}", b)));
  }
  dims.insert(dims.end(), x.dims.begin() + batch + depth, x.dims.end());
  context.set_output(0, Type::tensor(x.dtype, std::move(dims)));
  return {};
}

Status run_gather_nd(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& at = context.input(1);
  const std::int64_t batch = node.get_int("batch_dims", 0);
  NARROW_TRY(const NdPositions found, nd_positions(node, x.shape(), at, batch));
  Shape shape(at.shape().begin(), at.shape().end() - 1);
  shape.insert(shape.end(), x.shape().begin() + batch + at.shape().back(), x.shape().end());
  return take_elements(x, found.positions, shape, found.slice, context);
}

// ---- Compress -------------------------------------------------------------------------------------------------------

Status infer_compress(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, kBoolType));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = x;
  if (!node.has("axis")) {
    out = Type::tensor(x.dtype, {Dim()});
  } else if (x.ranked) {
    NARROW_TRY(const int axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
    out.dims[axis] = Dim();
  }
  context.set_output(0, out);
  return {};
}

Status run_compress(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  const Tensor& condition = context.input(1);
  if (condition.dtype() != DType::kBool) return dtype_error(node, condition.dtype());
  int axis = 0;
  Shape shape{x.size()};
  if (node.has("axis")) {
    NARROW_TRY(axis, normalize_axis(node, node.get_int("axis", 0), x.rank()));
    shape = x.shape();
  }
  if (condition.rank() != 1 || condition.size() > shape[axis]) {
    return invalid_argument(fmt::format("{}: the condition has shape {}, expected at most [{}]", where(node),
                                        to_string(condition.shape()), shape[axis]));
  }
  std::int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= shape[d];
  for (std::size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
  const std::int64_t size = shape[axis];
  std::vector<std::int64_t> positions;
  shape[axis] = 0;
  for (std::int64_t i = 0; i < condition.size(); ++i) shape[axis] += pointer<std::uint8_t>(condition)[i] != 0;
  for (std::int64_t o = 0; o < outer && inner != 0; ++o) {
    for (std::int64_t i = 0; i < condition.size(); ++i) {
      if (pointer<std::uint8_t>(condition)[i] != 0) positions.push_back((o * size + i) * inner);
    }
  }
  return take_elements(x, positions, shape, inner, context);
}

constexpr Operator row(std::string_view name, int since, Status (*infer)(InferContext&), RunFunction run) {
  return {.name = name, .since = since, .min_inputs = 2, .max_inputs = 2, .infer = infer, .run = run,
          .quant = kTransportRule};
}

const std::array kOperators = {
    row("Gather", 13, infer_gather, run_gather),
    row("GatherElements", 13, infer_gather_elements, run_gather_elements),
    row("GatherND", 13, infer_gather_nd, run_gather_nd),
    Operator{.name = "GatherND", .domain = "com.microsoft", .min_inputs = 2, .max_inputs = 2, .infer = infer_gather_nd, .run = run_gather_nd},
    row("Compress", 11, infer_compress, run_compress),
};

}  // namespace

std::span<const Operator> gather_operators() { return kOperators; }

}  // namespace narrow::operators
