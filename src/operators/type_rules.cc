#include "operators/type_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"

namespace narrow::operators {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

std::string where(const Node& node) { return fmt::format("node '{}' ({})", node.name, node.op_type); }

namespace {

std::string names(DTypeSet set) {
  std::string text;
  for (int i = 1; i < kDTypeCount; ++i) {
    if (!contains(set, static_cast<DType>(i))) continue;
    if (!text.empty()) text += ", ";
    text += to_string(static_cast<DType>(i));
  }
  return text;
}

std::string text(const Dim& dim) { return dim.known() ? fmt::format("{}", dim.size) : dim.symbol.empty() ? "?" : dim.symbol; }

}  // namespace

Status check_dtype(const InferContext& context, std::size_t i, DTypeSet allowed) {
  const Type& type = context.input(i);
  if (type.kind == TypeKind::kUnknown || type.dtype == DType::kUndefined) return {};
  if (type.kind != TypeKind::kTensor) {
    return corrupt(fmt::format("{}: input {} is {}, expected a tensor", where(context.node()), i, graph::to_string(type)));
  }
  if (contains(allowed, type.dtype)) return {};
  return corrupt(fmt::format("{}: input {} is {}, expected one of {}", where(context.node()), i, to_string(type.dtype),
                             names(allowed)));
}

Result<DType> common_dtype(const InferContext& context, std::span<const std::size_t> inputs) {
  DType found = DType::kUndefined;
  std::size_t first = 0;
  for (std::size_t i : inputs) {
    const Type& type = context.input(i);
    if (type.kind != TypeKind::kTensor || type.dtype == DType::kUndefined) continue;
    if (found == DType::kUndefined) {
      found = type.dtype;
      first = i;
    } else if (found != type.dtype) {
      return corrupt(fmt::format("{}: input {} is {} but input {} is {}, expected the same element type",
                                 where(context.node()), first, to_string(found), i, to_string(type.dtype)));
    }
  }
  return found;
}

Result<int> normalize_axis(const Node& node, std::int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) {
    return corrupt(fmt::format("{}: axis {} is outside a tensor of rank {}, expected {} to {}", where(node), axis, rank,
                               -rank, rank - 1));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<std::vector<int>> normalize_axes(const Node& node, std::span<const std::int64_t> axes, int rank) {
  std::vector<int> normal;
  std::vector<bool> seen(static_cast<std::size_t>(rank), false);
  for (std::int64_t axis : axes) {
    NARROW_TRY(const int a, normalize_axis(node, axis, rank));
    if (seen[a]) return corrupt(fmt::format("{}: axis {} is given twice", where(node), a));
    seen[a] = true;
    normal.push_back(a);
  }
  return normal;
}

Status check_rank(const InferContext& context, std::size_t i, int min, int max) {
  const Type& type = context.input(i);
  if (!type.ranked || (type.rank() >= min && (max < 0 || type.rank() <= max))) return {};
  return corrupt(fmt::format("{}: input {} is {}, expected rank {}", where(context.node()), i, graph::to_string(type),
                             max < 0      ? fmt::format("at least {}", min)
                             : min == max ? fmt::format("{}", min)
                                          : fmt::format("{} to {}", min, max)));
}

Result<Dim> broadcast_dim(const Node& node, const Dim& a, const Dim& b) {
  if (a.known() && a.size == 1) return b;
  if (b.known() && b.size == 1) return a;
  if (a.known() && b.known()) {
    if (a.size == b.size) return a;
    return corrupt(fmt::format("{}: dimensions {} and {} cannot be broadcast together", where(node), a.size, b.size));
  }
  if (a.known()) return a;  // the other must turn out 1 or the same
  if (b.known()) return b;
  return a.same(b) ? a : Dim();
}

Result<std::optional<std::vector<Dim>>> broadcast_types(const Node& node, std::span<const Type* const> types) {
  std::size_t rank = 0;
  for (const Type* type : types) {
    if (type->kind != TypeKind::kTensor || !type->ranked) return std::optional<std::vector<Dim>>();
    rank = std::max(rank, type->dims.size());
  }
  std::vector<Dim> dims(rank, Dim(1));
  for (const Type* type : types) {
    const std::size_t missing = rank - type->dims.size();
    for (std::size_t i = 0; i < type->dims.size(); ++i) {
      NARROW_TRY(dims[missing + i], broadcast_dim(node, dims[missing + i], type->dims[i]));
    }
  }
  return std::optional(std::move(dims));
}

Result<Dim> unify_dims(const Node& node, const Dim& a, const Dim& b, std::string_view what) {
  if (a.known() && b.known() && a.size != b.size) {
    return corrupt(fmt::format("{}: {} is {} in one input and {} in another, expected the same", where(node), what,
                               text(a), text(b)));
  }
  if (a.known()) return a;
  if (b.known() || a.symbol.empty()) return b;
  return a;
}

Dim add_dims(const Dim& a, const Dim& b) {
  if (a.known() && a.size == 0) return b;
  if (b.known() && b.size == 0) return a;
  if (!a.known() || !b.known()) return {};
  return Dim(base::checked_add(a.size, b.size).value_or(-1));
}

Dim subtract_dims(const Dim& a, const Dim& b) {
  if (b.known() && b.size == 0) return a;
  if (!a.known() || !b.known() || a.size < b.size) return {};
  return Dim(a.size - b.size);
}

Dim multiply_dims(const Dim& a, const Dim& b) {
  if (a.known() && a.size == 1) return b;
  if (b.known() && b.size == 1) return a;
  if (!a.known() || !b.known()) return {};
  return Dim(base::checked_mul(a.size, b.size).value_or(-1));
}

Dim divide_dims(const Dim& a, const Dim& b) {
  if (b.known() && b.size == 1) return a;
  if (!a.known() || !b.known() || b.size == 0) return {};
  return Dim(a.size / b.size);
}

std::optional<std::int64_t> known_elements(const Type& type) {
  const std::optional<Shape> shape = type.static_shape();
  return shape ? base::checked_product(*shape) : std::nullopt;
}

std::optional<std::vector<std::int64_t>> known_integers(const InferContext& context, std::size_t i) {
  const Tensor* tensor = context.constant(i);
  if (tensor == nullptr || !is_integer(tensor->dtype())) return std::nullopt;
  return tensor->to_int64();
}

Status infer_like_input(InferContext& context) {
  context.set_output(0, context.input(0));
  return {};
}

}  // namespace narrow::operators
