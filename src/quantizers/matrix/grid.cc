#include "quantizers/matrix/grid.h"

#include <limits>
#include <vector>

#include "base/float16.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kRows = kernels::kColumnRows;

// The best grid so far of each row of a tile.
struct Search {
  const kernels::TileColumn* weight;
  const float* importance;
  std::int64_t columns;
  const GridOptions& options;
  float error[kRows];
  Grid best[kRows];

  // Tries a grid for each row, then once more with the scale that fits its codes.
  void consider(Grid (&candidate)[kRows]) {
    alignas(64) float scale[kRows], low[kRows], high[kRows];
    for (int round = 0; round < 2; ++round) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        scale[r] = candidate[r].scale;
        low[r] = static_cast<float>(-candidate[r].zero);
        high[r] = static_cast<float>(options.max_code() - candidate[r].zero);
      }
      kernels::GridFit fit;
      kernels::column_kernels().fit(weight, importance, columns, scale, low, high, &fit);
      for (std::int64_t r = 0; r < kRows; ++r) {
        if (fit.error[r] < error[r]) {
          error[r] = fit.error[r];
          best[r] = candidate[r];
        }
        if (fit.square[r] > 0 && fit.along[r] > 0) candidate[r].scale = round_scale(fit.along[r] / fit.square[r], options.scale_type);
      }
    }
  }
};

}  // namespace

float round_scale(float scale, encodings::ScaleType type) {
  switch (type) {
    case encodings::ScaleType::kF32: return std::clamp(scale, std::numeric_limits<float>::min(), std::numeric_limits<float>::max());
    case encodings::ScaleType::kF16: return base::to_float(base::to_float16(std::clamp(scale, 0x1p-24f, 65504.0f)));
    case encodings::ScaleType::kBF16: return base::to_float(base::to_bfloat16(std::clamp(scale, 0x1p-126f, 0x1.FEp127f)));
  }
  return scale;
}

Grid range_grid(float low, float high, const GridOptions& options) {
  const float steps = static_cast<float>(options.max_code());
  if (options.symmetric) {
    const float reach = std::max(-low, high);
    return {reach > 0 ? round_scale(reach / (steps / 2), options.scale_type) : 1.0f, options.middle()};
  }
  if (low == high) return {1.0f, 0};
  const float scale = round_scale(high / steps - low / steps, options.scale_type);
  return {scale, static_cast<int>(std::clamp(std::nearbyint(-low / scale), 0.0f, steps))};
}

Grid min_max_grid(const float* weight, std::int64_t count, const GridOptions& options) {
  float low = 0, high = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    low = std::min(low, weight[i]);
    high = std::max(high, weight[i]);
  }
  return range_grid(low, high, options);
}

void searched_grids(const kernels::TileColumn* weight, const float* importance, std::int64_t columns, std::int64_t rows,
                    const GridOptions& options, Grid* grids) {
  const int max_code = options.max_code();
  Search search{weight, importance, columns, options, {}, {}};
  Grid full[kRows], candidate[kRows];
  std::vector<float> row(static_cast<std::size_t>(columns));
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) row[static_cast<std::size_t>(k)] = weight[k][r];
    full[r] = candidate[r] = search.best[r] = min_max_grid(row.data(), columns, options);
    search.error[r] = std::numeric_limits<float>::infinity();
  }
  search.consider(candidate);
  for (int percent = 96; percent >= 52; percent -= 4) {
    // With a finer grid the zero moves: the range may be cut at either end.
    const int spare = options.symmetric ? 0 : static_cast<int>(std::ceil(static_cast<float>(max_code) * (100.0f / static_cast<float>(percent) - 1)));
    const int step = std::max(1, spare / 8);
    for (int cut = 0; cut <= spare; cut += step) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        const float scale = round_scale(full[r].scale * static_cast<float>(percent) / 100, options.scale_type);
        const int zero = static_cast<int>(std::nearbyint(static_cast<float>(full[r].zero) * (full[r].scale / scale)));
        candidate[r] = {scale, options.symmetric ? full[r].zero : std::clamp(zero - cut, 0, max_code)};
      }
      search.consider(candidate);
    }
  }
  std::copy_n(search.best, rows, grids);
}

}  // namespace narrow::quantizers
