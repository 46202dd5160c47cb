// What the type rules of many operators share: naming the node, sets of element types, axes, broadcasting of types, and
// arithmetic on dimensions that may be symbols.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "operators/operator.h"

namespace narrow::operators {

// "node 'conv1' (Conv)", for messages.
std::string where(const graph::Node& node);

// A set of element types, one bit each.
using DTypeSet = std::uint32_t;
constexpr DTypeSet set_of(std::initializer_list<DType> types) {
  DTypeSet set = 0;
  for (DType t : types) set |= DTypeSet{1} << static_cast<int>(t);
  return set;
}
constexpr bool contains(DTypeSet set, DType t) { return (set >> static_cast<int>(t)) & 1; }

inline constexpr DTypeSet kFloatTypes = set_of({DType::kF32, DType::kF64, DType::kF16, DType::kBF16});
inline constexpr DTypeSet kUnsignedTypes = set_of({DType::kU8, DType::kU16, DType::kU32, DType::kU64});
inline constexpr DTypeSet kSignedIntegerTypes = set_of({DType::kS8, DType::kS16, DType::kS32, DType::kS64});
inline constexpr DTypeSet kIntegerTypes = kUnsignedTypes | kSignedIntegerTypes;
inline constexpr DTypeSet kNumericTypes = kFloatTypes | kIntegerTypes;
inline constexpr DTypeSet kBoolType = set_of({DType::kBool});
inline constexpr DTypeSet kIndexTypes = set_of({DType::kS32, DType::kS64});
inline constexpr DTypeSet kAnyType = ~DTypeSet{0};

// Nothing when the element type of input i is unknown or in the set. Errors: corrupt.
Status check_dtype(const InferContext& context, std::size_t i, DTypeSet allowed);
// The element type that the given inputs share; kUndefined when none is known. Errors: corrupt when two known ones differ.
Result<DType> common_dtype(const InferContext& context, std::span<const std::size_t> inputs);

// Axis in [0, rank). Errors: corrupt when it is outside [-rank, rank).
Result<int> normalize_axis(const graph::Node& node, std::int64_t axis, int rank);
// The same for a list, in the given order. Errors: corrupt also when an axis is given twice.
Result<std::vector<int>> normalize_axes(const graph::Node& node, std::span<const std::int64_t> axes, int rank);

// Checks that a known rank is in [min, max] (max < 0: no limit). Errors: corrupt.
Status check_rank(const InferContext& context, std::size_t i, int min, int max);

// The dimension that follows from a and b under numpy's broadcasting. Errors: corrupt when they cannot go together.
Result<graph::Dim> broadcast_dim(const graph::Node& node, const graph::Dim& a, const graph::Dim& b);
// The dims of several types broadcast together; nullopt when a rank is not known.
Result<std::optional<std::vector<graph::Dim>>> broadcast_types(const graph::Node& node,
                                                               std::span<const graph::Type* const> types);
// Two dims that must be equal: the better known one. Errors: corrupt when both are known and differ.
Result<graph::Dim> unify_dims(const graph::Node& node, const graph::Dim& a, const graph::Dim& b, std::string_view what);

// Arithmetic on dims, unknown when it cannot be told; overflow and negative results are unknown too.
graph::Dim add_dims(const graph::Dim& a, const graph::Dim& b);
graph::Dim subtract_dims(const graph::Dim& a, const graph::Dim& b);
graph::Dim multiply_dims(const graph::Dim& a, const graph::Dim& b);
graph::Dim divide_dims(const graph::Dim& a, const graph::Dim& b);

// Elements of a type when every dim is known and the product fits.
std::optional<std::int64_t> known_elements(const graph::Type& type);

// Integers of input i when they are known before running, as 64-bit.
std::optional<std::vector<std::int64_t>> known_integers(const InferContext& context, std::size_t i);

// output 0 has the type of input 0.
Status infer_like_input(InferContext& context);
// The same, where input 0 must be of one of the types.
template <DTypeSet allowed>
Status infer_unary(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, allowed));
  return infer_like_input(context);
}

}  // namespace narrow::operators
