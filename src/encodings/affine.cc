#include "encodings/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narrow::encodings {
namespace {

std::int32_t middle(const AffineGrid& grid) {
  // [-127, 127] and [-128, 127] give 0; [0, 255] gives 128; [0, 15] gives 8.
  return static_cast<std::int32_t>(std::floor((static_cast<double>(grid.quant_min) + grid.quant_max + 1) / 2));
}

}  // namespace

AffineParams affine_params(float min, float max, const AffineGrid& grid) {
  const std::int32_t zero = middle(grid);
  const AffineParams degenerate{1.0f, grid.symmetric ? zero : std::clamp<std::int32_t>(0, grid.quant_min, grid.quant_max)};
  if (!std::isfinite(min) || !std::isfinite(max)) return degenerate;
  const double low = std::min(0.0, static_cast<double>(std::min(min, max)));
  const double high = std::max(0.0, static_cast<double>(std::max(min, max)));
  if (grid.symmetric) {
    const double steps = std::min(static_cast<double>(grid.quant_max) - zero, static_cast<double>(zero) - grid.quant_min);
    const double scale = std::max(-low, high) / steps;
    if (scale < std::numeric_limits<float>::min()) return degenerate;
    return {static_cast<float>(std::min<double>(scale, std::numeric_limits<float>::max())), zero};
  }
  const double scale = (high - low) / (static_cast<double>(grid.quant_max) - grid.quant_min);
  if (scale < std::numeric_limits<float>::min()) return degenerate;
  const float stored = static_cast<float>(std::min<double>(scale, std::numeric_limits<float>::max()));
  const double zero_point = std::nearbyint(grid.quant_min - low / stored);
  return {stored, static_cast<std::int32_t>(std::clamp<double>(zero_point, grid.quant_min, grid.quant_max))};
}

std::int32_t quantize_one(float x, const AffineParams& params, const AffineGrid& grid) {
  if (std::isnan(x)) return std::clamp(params.zero_point, grid.quant_min, grid.quant_max);
  // Clamping before the conversion keeps it defined; f32 division and nearbyint match QuantizeLinear bit for bit.
  const float scaled = std::nearbyint(x / params.scale) + static_cast<float>(params.zero_point);
  return static_cast<std::int32_t>(std::clamp(static_cast<double>(scaled), static_cast<double>(grid.quant_min),
                                              static_cast<double>(grid.quant_max)));
}

template <typename T>
void quantize(std::span<const float> x, const AffineParams& params, const AffineGrid& grid, std::span<T> q) {
  for (std::size_t i = 0; i < x.size(); ++i) q[i] = static_cast<T>(quantize_one(x[i], params, grid));
}

template <typename T>
void dequantize(std::span<const T> q, const AffineParams& params, std::span<float> x) {
  for (std::size_t i = 0; i < q.size(); ++i) x[i] = dequantize_one(q[i], params);
}

#define NARROW_AFFINE(T)                                                                                         \
  template void quantize<T>(std::span<const float>, const AffineParams&, const AffineGrid&, std::span<T>);       \
  template void dequantize<T>(std::span<const T>, const AffineParams&, std::span<float>);
NARROW_AFFINE(std::int8_t)
NARROW_AFFINE(std::uint8_t)
NARROW_AFFINE(std::int16_t)
NARROW_AFFINE(std::uint16_t)
NARROW_AFFINE(std::int32_t)
#undef NARROW_AFFINE

}  // namespace narrow::encodings
