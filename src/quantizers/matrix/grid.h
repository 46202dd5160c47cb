// The values that one group of weights may take: (code - zero) * scale for the codes 0 … 2^bits - 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "encodings/grouped_matrix.h"
#include "kernels/columns/columns.h"

namespace narrow::quantizers {

struct Grid {
  float scale = 1;               // > 0, finite, representable in the scale type
  int zero = 0;
};

struct GridOptions {
  int bits = 4;
  bool symmetric = false;
  encodings::ScaleType scale_type = encodings::ScaleType::kF16;

  int max_code() const { return (1 << bits) - 1; }
  int middle() const { return 1 << (bits - 1); }
};

// The value of `type` nearest to `scale`, kept positive and finite.
float round_scale(float scale, encodings::ScaleType type);

inline int nearest_code(float value, const Grid& grid, int max_code) {
  // Clamped as a float first: a value far outside must not overflow an int.
  const float code = std::nearbyint(value / grid.scale) + static_cast<float>(grid.zero);
  return static_cast<int>(std::clamp(code, 0.0f, static_cast<float>(max_code)));
}

// The grid of a group whose weights lie in [low, high], low <= 0 <= high.
Grid range_grid(float low, float high, const GridOptions& options);

// Covers [min(0, min w), max(0, max w)]; symmetric: [-a, a] with a = max |w|.
Grid min_max_grid(const float* weight, std::int64_t count, const GridOptions& options);

// Rows of one group, [column][row], with the rows past the last one zero.
// grids[r] for r < rows: the grid of least sum of importance * (w - ŵ)² among ranges shrunk and cut at either end, each scale then
// fitted to its codes. `importance` [columns] may be null: all ones. Never worse than min_max_grid by that measure.
void searched_grids(const kernels::TileColumn* weight, const float* importance, std::int64_t columns, std::int64_t rows,
                    const GridOptions& options, Grid* grids);

}  // namespace narrow::quantizers
