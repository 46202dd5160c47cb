#include "quantizers/matrix/grid.h"

#include <limits>

#include "base/float16.h"

namespace narrow::quantizers {
namespace {

// Codes of a group under `grid`, summed up: the error, and the scale that fits the codes best.
struct Fit {
  double error, scale;
};
Fit fit(const float* weight, const float* importance, std::int64_t count, const Grid& grid, int max_code) {
  double error = 0, along = 0, square = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float steps = static_cast<float>(nearest_code(weight[i], grid, max_code) - grid.zero);
    const float off = weight[i] - steps * grid.scale;
    const double h = importance == nullptr ? 1.0 : importance[i];
    error += h * off * off;
    along += h * steps * weight[i];
    square += h * steps * steps;
  }
  return {error, square > 0 ? along / square : 0};
}

}  // namespace

float round_scale(float scale, encodings::ScaleType type) {
  switch (type) {
    case encodings::ScaleType::kF32: return std::clamp(scale, std::numeric_limits<float>::min(), std::numeric_limits<float>::max());
    case encodings::ScaleType::kF16: return base::to_float(base::to_float16(std::clamp(scale, 0x1p-24f, 65504.0f)));
    case encodings::ScaleType::kBF16: return base::to_float(base::to_bfloat16(std::clamp(scale, 0x1p-126f, 0x1.FEp127f)));
  }
  return scale;
}

Grid min_max_grid(const float* weight, std::int64_t count, const GridOptions& options) {
  float low = 0, high = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    low = std::min(low, weight[i]);
    high = std::max(high, weight[i]);
  }
  const float steps = static_cast<float>(options.max_code());
  if (options.symmetric) {
    const float reach = std::max(-low, high);
    return {reach > 0 ? round_scale(reach / (steps / 2), options.scale_type) : 1.0f, options.middle()};
  }
  if (low == high) return {1.0f, 0};
  const float scale = round_scale(high / steps - low / steps, options.scale_type);
  return {scale, static_cast<int>(std::clamp(std::nearbyint(-low / scale), 0.0f, steps))};
}

Grid searched_grid(const float* weight, const float* importance, std::int64_t count, const GridOptions& options) {
  const Grid full = min_max_grid(weight, count, options);
  const int max_code = options.max_code();
  Grid best = full;
  Fit best_fit = fit(weight, importance, count, full, max_code);
  const auto consider = [&](Grid candidate) {
    for (int round = 0; round < 2; ++round) {
      const Fit found = fit(weight, importance, count, candidate, max_code);
      if (found.error < best_fit.error) {
        best = candidate;
        best_fit = found;
      }
      if (found.scale <= 0) return;
      candidate.scale = round_scale(static_cast<float>(found.scale), options.scale_type);
    }
  };
  for (int percent = 100; percent >= 50; percent -= 2) {
    const float scale = round_scale(full.scale * static_cast<float>(percent) / 100, options.scale_type);
    if (options.symmetric) {
      consider({scale, full.zero});
      continue;
    }
    // With a finer grid the zero moves: the range may be cut at either end.
    const int zero = static_cast<int>(std::nearbyint(static_cast<float>(full.zero) * full.scale / scale));
    const int spare = static_cast<int>(std::ceil(static_cast<float>(max_code) * (full.scale / scale - 1)));
    for (int cut = 0; cut <= spare; ++cut) consider({scale, std::clamp(zero - cut, 0, max_code)});
  }
  return best;
}

}  // namespace narrow::quantizers
