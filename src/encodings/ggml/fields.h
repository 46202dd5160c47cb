// Reading and writing the fields of blocks, which lie at any address.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/float16.h"

namespace narrow::encodings::ggml {

template <typename T>
T load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <typename T>
void store(std::uint8_t* bytes, T value) { std::memcpy(bytes, &value, sizeof(T)); }

inline float load_half(const std::uint8_t* bytes) { return base::to_float(load<base::Float16>(bytes)); }

// The largest finite value instead of infinity.
inline base::Float16 finite_half(float value) {
  const float most = 65504.0f;
  return base::to_float16(value > most ? most : value < -most ? -most : value);
}
inline float as_half(float value) { return base::to_float(finite_half(value)); }
inline void store_half(std::uint8_t* bytes, float value) { store(bytes, finite_half(value)); }

// The 6-bit scale and minimum of sub-block i of 8, packed in the 12 bytes of Q4_K and Q5_K.
struct ScaleMin {
  int scale, min;
};
inline ScaleMin load_scale_min(const std::uint8_t* b, int i) {
  if (i < 4) return {b[i] & 63, b[i + 4] & 63};
  return {(b[i + 4] & 15) | (b[i - 4] >> 6) << 4, b[i + 4] >> 4 | (b[i] >> 6) << 4};
}
// Precondition: the 12 bytes are zero so far.
inline void store_scale_min(std::uint8_t* b, int i, ScaleMin v) {
  if (i < 4) {
    b[i] = static_cast<std::uint8_t>(b[i] | v.scale);
    b[i + 4] = static_cast<std::uint8_t>(b[i + 4] | v.min);
    return;
  }
  b[i + 4] = static_cast<std::uint8_t>((v.scale & 15) | (v.min & 15) << 4);
  b[i - 4] = static_cast<std::uint8_t>(b[i - 4] | v.scale >> 4 << 6);
  b[i] = static_cast<std::uint8_t>(b[i] | v.min >> 4 << 6);
}

}  // namespace narrow::encodings::ggml
