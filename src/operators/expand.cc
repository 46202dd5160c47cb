// Expand and Tile: repeating elements.
#include <array>

#include "base/checked.h"
#include "operators/broadcast.h"
#include "operators/elementwise.h"
#include "operators/families.h"
#include "operators/strided_copy.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

Status infer_expand(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 1, 1, 1));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  if (const auto numbers = known_integers(context, 1)) {
    for (std::int64_t v : *numbers) {
      if (v < 0) return corrupt(fmt::format("{}: the shape {} has a negative dimension", where(context.node()), to_string(*numbers)));
    }
  }
  const auto wanted = context.dims_value(1);
  if (!wanted || !x.ranked) {
    context.set_output(0, Type::tensor(x.dtype));
    return {};
  }
  const Type target = Type::tensor(x.dtype, *wanted);
  const Type* types[] = {&x, &target};
  NARROW_TRY(const auto dims, broadcast_types(context.node(), types));
  context.set_output(0, Type::tensor(x.dtype, *dims));
  return {};
}

Status run_expand(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (context.input(1).dtype() != DType::kS64) return dtype_error(node, context.input(1).dtype());
  const Shape wanted = context.input(1).to_int64();
  if (!base::checked_product(wanted)) {
    return corrupt(fmt::format("{}: the shape {} is negative or overflows", where(node), to_string(wanted)));
  }
  const Shape* shapes[] = {&x.shape(), &wanted};
  NARROW_TRY(const Shape shape, broadcast_shapes(node, shapes));
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const auto from = strides_of(x.shape()), to = strides_of(shape);
  const std::size_t added = shape.size() - from.size();
  std::vector<StridedAxis> axes;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const bool repeated = d < added || x.shape()[d - added] == 1;
    axes.push_back({shape[d], repeated ? 0 : from[d - added], to[d]});
  }
  out.copy(x, 0, 0, std::move(axes));
  out.finish();
  return {};
}

Status check_repeats(const Node& node, std::span<const std::int64_t> repeats, int rank) {
  bool valid = static_cast<int>(repeats.size()) == rank;
  for (std::int64_t r : repeats) valid = valid && r >= 0;
  if (valid) return {};
  return corrupt(fmt::format("{}: repeats {} do not fit a tensor of rank {}", where(node), to_string(repeats), rank));
}

Status infer_tile(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kS64})));
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type out = x;
  if (const auto numbers = known_integers(context, 1); numbers && x.ranked) {
    NARROW_RETURN_IF_ERROR(check_repeats(context.node(), *numbers, x.rank()));
  }
  const auto repeats = context.dims_value(1);
  for (std::size_t d = 0; d < out.dims.size(); ++d) {
    out.dims[d] = repeats && repeats->size() == out.dims.size() ? multiply_dims(x.dims[d], (*repeats)[d]) : Dim();
  }
  context.set_output(0, out);
  return {};
}

Status run_tile(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (context.input(1).dtype() != DType::kS64) return dtype_error(node, context.input(1).dtype());
  const auto repeats = context.input(1).to_int64();
  NARROW_RETURN_IF_ERROR(check_repeats(node, repeats, x.rank()));
  Shape shape = x.shape();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const auto size = base::checked_mul(shape[d], repeats[d]);
    if (!size) return corrupt(fmt::format("{}: repeats {} overflow", where(node), to_string(repeats)));
    shape[d] = *size;
  }
  NARROW_TRY(MovedOutput out, MovedOutput::create(context, 0, x.dtype(), shape));
  const auto from = strides_of(x.shape()), to = strides_of(shape);
  std::vector<StridedAxis> axes;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    axes.push_back({repeats[d], 0, x.shape()[d] * to[d]});
    axes.push_back({x.shape()[d], from[d], to[d]});
  }
  out.copy(x, 0, 0, std::move(axes));
  out.finish();
  return {};
}

const std::array kOperators = {
    Operator{.name = "Expand", .since = 13, .min_inputs = 2, .max_inputs = 2, .infer = infer_expand, .run = run_expand,
             .quant = kTransportRule},
    Operator{.name = "Tile", .since = 13, .min_inputs = 2, .max_inputs = 2, .infer = infer_tile, .run = run_tile,
             .quant = kTransportRule},
};

}  // namespace

std::span<const Operator> expand_operators() { return kOperators; }

}  // namespace narrow::operators
