#include <algorithm>
#include <cmath>

#include "kernels/columns/columns.h"

namespace narrow::kernels {
namespace {

void spread(TileColumn* to, const float* change, const float* row, std::int64_t width) {
  for (std::int64_t j = 0; j < width; ++j) {
    for (std::int64_t r = 0; r < kColumnRows; ++r) to[j][r] += change[r] * row[j];
  }
}

void add(float* to, float change, const float* row, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += change * row[i];
}

float nearest(float value, float low, float high) { return std::nearbyint(std::min(std::max(value, low), high)); }

void fit(const TileColumn* weight, const float* importance, std::int64_t count, const float* scale, const float* low, const float* high,
         GridFit* fit) {
  for (std::int64_t r = 0; r < kColumnRows; ++r) {
    float error = 0, along = 0, square = 0;
    for (std::int64_t k = 0; k < count; ++k) {
      const float w = weight[k][r], h = importance == nullptr ? 1.0f : importance[k];
      const float steps = nearest(w / scale[r], low[r], high[r]), off = w - steps * scale[r];
      error += h * off * off;
      along += h * steps * w;
      square += h * steps * steps;
    }
    fit->error[r] = error;
    fit->along[r] = along;
    fit->square[r] = square;
  }
}

void round(const float* wanted, const float* weight, const float* scale, const float* low, const float* high, float* steps, float* error) {
  for (std::int64_t r = 0; r < kColumnRows; ++r) {
    steps[r] = nearest(wanted[r] / scale[r], low[r], high[r]);
    error[r] = weight[r] - steps[r] * scale[r];
  }
}

bool descend(const float* gradient, float inverse, const float* scale, const float* low, const float* high, float* steps, float* change) {
  bool moved = false;
  for (std::int64_t r = 0; r < kColumnRows; ++r) {
    const float found = nearest(steps[r] + gradient[r] * inverse / scale[r], low[r], high[r]);
    change[r] = (steps[r] - found) * scale[r];
    moved |= found != steps[r];
    steps[r] = found;
  }
  return moved;
}

}  // namespace

const ColumnKernels kColumnsReference = {spread, add, fit, round, descend};

}  // namespace narrow::kernels
