// f32 to the 8- and 4-bit floating types of ONNX: round to nearest even, then saturate or overflow as its Cast says; and
// to the exponent-only scale type.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace narrow::base {

struct SmallFloat {
  int exponent_bits, mantissa_bits, bias;
  std::uint8_t largest;    // code of the largest finite magnitude
  std::uint8_t nan;        // code of NaN (its own sign bit included where there is only one)
  std::uint8_t overflow;   // magnitude beyond the largest when not saturating: NaN, or infinity where there is one
  bool negative_zero;      // whether 0x80 is -0
};

inline constexpr SmallFloat kE4M3FN = {4, 3, 7, 0x7E, 0x7F, 0x7F, true};
inline constexpr SmallFloat kE4M3FNUZ = {4, 3, 8, 0x7F, 0x80, 0x80, false};
inline constexpr SmallFloat kE5M2 = {5, 2, 15, 0x7B, 0x7F, 0x7C, true};
inline constexpr SmallFloat kE5M2FNUZ = {5, 2, 16, 0x7F, 0x80, 0x80, false};
inline constexpr SmallFloat kE2M1 = {2, 1, 1, 0x07, 0x08, 0x07, true};  // no NaN: it becomes -0, as ONNX's data has it; always saturates

// The code, its sign in the top bit of the type's width.
inline std::uint8_t to_small_float(float x, const SmallFloat& type, bool saturate) {
  const int width = type.exponent_bits + type.mantissa_bits;
  const auto sign = static_cast<std::uint8_t>(std::signbit(x) ? 1 << width : 0);
  if (std::isnan(x)) return type.negative_zero ? static_cast<std::uint8_t>(type.nan | sign) : type.nan;
  const float magnitude = std::fabs(x);
  int code = type.largest + 1;
  if (std::isfinite(magnitude) && magnitude < 1e6f) {
    const int exponent = magnitude == 0 ? -1000 : std::ilogb(magnitude);
    const int lowest = 1 - type.bias;
    const int power = (exponent > lowest ? exponent : lowest) - type.mantissa_bits;
    const int units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -power)));
    // Units carry into the exponent by themselves: 2^(mantissa_bits + 1) is the next binade's first code.
    code = exponent >= lowest ? ((exponent + type.bias - 1) << type.mantissa_bits) + units : units;
  }
  if (code > type.largest) {
    if (!saturate) return type.negative_zero ? static_cast<std::uint8_t>(type.overflow | sign) : type.overflow;
    code = type.largest;
  }
  if (code == 0 && !type.negative_zero) return 0;
  return static_cast<std::uint8_t>(code | sign);
}

// A power of two, 2^(code - 127), or NaN (255). The sign is dropped; the exponent goes up, down or to the nearer power.
enum class ScaleRounding { kUp, kDown, kNearest };
inline std::uint8_t to_e8m0(float x, ScaleRounding rounding, bool saturate) {
  if (std::isnan(x)) return 255;
  if (std::isinf(x)) return saturate ? 254 : 255;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(std::fabs(x));
  const std::uint32_t exponent = bits >> 23, mantissa = bits & 0x7FFFFFu;
  // Code 0 is 2^-127, the subnormal 0x400000.
  const std::uint32_t exact = exponent == 0 ? 0x400000u : 0u, half = exponent == 0 ? 0x600000u : 0x400000u;
  const bool up = (rounding == ScaleRounding::kUp && mantissa > exact) || (rounding == ScaleRounding::kNearest && mantissa >= half);
  const std::uint32_t code = exponent + up;
  return code <= 254 ? static_cast<std::uint8_t>(code) : saturate ? 254 : 255;
}

}  // namespace narrow::base
