// Element types, by storage. 4-bit types are packed two to a byte, the first element in the low nibble.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/float16.h"

namespace narrow {

enum class DType : std::uint8_t {
  kUndefined,
  kF32, kF64, kF16, kBF16,
  kF8E4M3FN, kF8E4M3FNUZ, kF8E5M2, kF8E5M2FNUZ, kF8E8M0, kF4E2M1,
  kS4, kU4, kS2, kU2,
  kS8, kU8, kS16, kU16, kS32, kU32, kS64, kU64,
  kBool,
  kC64, kC128,
  kString,
};
inline constexpr int kDTypeCount = static_cast<int>(DType::kString) + 1;

// "f32", "s8", "u4", "bool", …; the same names parse back.
std::string_view to_string(DType dtype);
std::optional<DType> parse_dtype(std::string_view name);

// Bits of one stored element; 0 for kUndefined and kString.
int bits_of(DType dtype);

bool is_float(DType dtype);             // any floating-point type, 4 and 8 bit ones included
bool is_integer(DType dtype);           // signed or unsigned, bool excluded
bool is_signed_integer(DType dtype);

// Smallest and largest value of an integer type of at most 32 bits.
struct IntegerRange {
  std::int64_t min, max;
};
IntegerRange integer_range(DType dtype);

template <typename T> inline constexpr DType kDTypeOf = DType::kUndefined;
template <> inline constexpr DType kDTypeOf<float> = DType::kF32;
template <> inline constexpr DType kDTypeOf<double> = DType::kF64;
template <> inline constexpr DType kDTypeOf<base::Float16> = DType::kF16;
template <> inline constexpr DType kDTypeOf<base::BFloat16> = DType::kBF16;
template <> inline constexpr DType kDTypeOf<std::int8_t> = DType::kS8;
template <> inline constexpr DType kDTypeOf<std::uint8_t> = DType::kU8;
template <> inline constexpr DType kDTypeOf<std::int16_t> = DType::kS16;
template <> inline constexpr DType kDTypeOf<std::uint16_t> = DType::kU16;
template <> inline constexpr DType kDTypeOf<std::int32_t> = DType::kS32;
template <> inline constexpr DType kDTypeOf<std::uint32_t> = DType::kU32;
template <> inline constexpr DType kDTypeOf<std::int64_t> = DType::kS64;
template <> inline constexpr DType kDTypeOf<std::uint64_t> = DType::kU64;
template <> inline constexpr DType kDTypeOf<bool> = DType::kBool;

}  // namespace narrow
