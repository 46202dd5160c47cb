// From an element type known at run time to a C++ type. f16 and bf16 are loaded as f32 and rounded when stored; bool is
// a byte that counts as true unless it is zero.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/float16.h"
#include "operators/type_rules.h"
#include "tensor/tensor.h"

namespace narrow {
struct Bool8 {
  std::uint8_t byte = 0;
};
template <> inline constexpr DType kDTypeOf<Bool8> = DType::kBool;
}  // namespace narrow

namespace narrow::operators {

template <typename... Ts>
struct TypeList {};
template <typename A, typename B>
struct Joined;
template <typename... As, typename... Bs>
struct Joined<TypeList<As...>, TypeList<Bs...>> { using type = TypeList<As..., Bs...>; };
template <typename A, typename B>
using Join = typename Joined<A, B>::type;

using FloatList = TypeList<float, double, base::Float16, base::BFloat16>;
using SignedList = TypeList<std::int8_t, std::int16_t, std::int32_t, std::int64_t>;
using UnsignedList = TypeList<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>;
using IntegerList = Join<SignedList, UnsignedList>;
using NumericList = Join<FloatList, IntegerList>;
using BoolList = TypeList<Bool8>;
using NumericOrBoolList = Join<NumericList, BoolList>;
using IndexList = TypeList<std::int32_t, std::int64_t>;

// The element types of a list, as a set.
template <typename... Ts>
constexpr DTypeSet set_of(TypeList<Ts...>) { return set_of({kDTypeOf<Ts>...}); }

inline float load(base::Float16 v) { return base::to_float(v); }
inline float load(base::BFloat16 v) { return base::to_float(v); }
inline bool load(Bool8 v) { return v.byte != 0; }
template <typename T>
  requires std::is_arithmetic_v<T>
T load(T v) { return v; }

// The type that arithmetic on T is done in.
template <typename T>
using Compute = decltype(load(T{}));

template <typename T>
T store(Compute<T> v) {
  if constexpr (std::is_same_v<T, base::Float16>) return base::to_float16(v);
  else if constexpr (std::is_same_v<T, base::BFloat16>) return base::to_bfloat16(v);
  else if constexpr (std::is_same_v<T, Bool8>) return {static_cast<std::uint8_t>(v)};
  else return v;
}

// Calls f.operator()<T>() for the list's type that `dtype` names; false when the list has none.
template <typename F, typename... Ts>
bool dispatch(TypeList<Ts...>, DType dtype, F&& f) {
  return ((dtype == kDTypeOf<Ts> ? (f.template operator()<Ts>(), true) : false) || ...);
}

inline Error dtype_error(const graph::Node& node, DType dtype) {
  return unsupported(fmt::format("{}: narrow cannot run it on {}", where(node), to_string(dtype)));
}

// Signed arithmetic that wraps, as the unsigned arithmetic of the same width does.
template <typename T>
using Wrapping = std::common_type_t<std::make_unsigned_t<T>, unsigned>;

template <typename T>
const T* pointer(const Tensor& tensor) { return static_cast<const T*>(tensor.raw()); }
template <typename T>
T* pointer(Tensor& tensor) { return static_cast<T*>(tensor.mutable_raw()); }

// Elements from which work is worth sharing among threads, and the least that one thread takes at a time.
inline constexpr std::int64_t kParallelElements = 65536;
inline constexpr std::int64_t kChunkElements = 16384;

// Calls f(begin, end) over [0, count) in pieces that do not depend on the number of threads.
template <typename F>
void parallel_ranges(base::ThreadPool& pool, std::int64_t count, F&& f, std::int64_t cost_per_item = 1) {
  if (count <= 0) return;
  const std::int64_t cost = std::max<std::int64_t>(1, cost_per_item);
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkElements / cost);
  if (count <= chunk || count <= kParallelElements / cost || pool.threads() == 1) {
    f(std::int64_t{0}, count);
    return;
  }
  pool.parallel_for(static_cast<std::size_t>((count + chunk - 1) / chunk), [&](std::size_t i, int) {
    const std::int64_t begin = static_cast<std::int64_t>(i) * chunk;
    f(begin, std::min(count, begin + chunk));
  });
}

}  // namespace narrow::operators
