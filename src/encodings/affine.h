// Affine quantization of numbers: q = saturate(round_half_even(x / scale) + zero_point), x' = (q - zero_point) * scale.
// (ONNX QuantizeLinear / DequantizeLinear; Jacob et al. 2018, arXiv:1712.05877.)
#pragma once

#include <cstdint>
#include <span>

namespace narrow::encodings {

struct AffineParams {
  float scale = 1.0f;             // > 0, finite, normal
  std::int32_t zero_point = 0;    // within [quant_min, quant_max]
  bool operator==(const AffineParams&) const = default;
};

// The integers a value may take and whether zero_point is fixed.
struct AffineGrid {
  std::int32_t quant_min = -128, quant_max = 127;
  bool symmetric = false;  // zero_point is the middle of the grid (0 for signed, 128 for u8), scale covers max(|min|,|max|)
};

// Scale and zero point that cover [min, max] widened to include 0. A range too small for a normal float scale, or one
// that is not finite, gives scale 1 and the zero point of an all-zero tensor.
AffineParams affine_params(float min, float max, const AffineGrid& grid);

std::int32_t quantize_one(float x, const AffineParams& params, const AffineGrid& grid);
inline float dequantize_one(std::int32_t q, const AffineParams& params) {
  return static_cast<float>(q - params.zero_point) * params.scale;
}

// Spans of equal length. T: s8, u8, s16, u16, s32.
template <typename T>
void quantize(std::span<const float> x, const AffineParams& params, const AffineGrid& grid, std::span<T> q);
template <typename T>
void dequantize(std::span<const T> q, const AffineParams& params, std::span<float> x);

}  // namespace narrow::encodings
