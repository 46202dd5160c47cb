#include "kernels/normalization/normalization.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace narrow::kernels {
namespace {

constexpr int kLanes = 16;

// Sum of f(x[i]) in lanes (vectorises), the lanes added in f64.
template <typename F>
double lane_sum(const float* x, std::int64_t size, F&& f) {
  float sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += f(x[i + lane]);
  }
  double total = 0;
  for (; i < size; ++i) total += f(x[i]);
  for (float sum : sums) total += sum;
  return total;
}

}  // namespace

void scale_shift_f32(const float* x, std::int64_t batch, std::int64_t channels, std::int64_t inner, const float* scale,
                     const float* shift, float* y, base::ThreadPool& pool) {
  if (inner == 1) {
    for (std::int64_t n = 0; n < batch; ++n) {
      for (std::int64_t c = 0; c < channels; ++c) y[n * channels + c] = x[n * channels + c] * scale[c] + shift[c];
    }
    return;
  }
  pool.parallel_for(static_cast<std::size_t>(batch * channels), [&](std::size_t plane, int) {
    const std::int64_t start = static_cast<std::int64_t>(plane) * inner, c = static_cast<std::int64_t>(plane) % channels;
    for (std::int64_t i = 0; i < inner; ++i) y[start + i] = x[start + i] * scale[c] + shift[c];
  });
}

RowMoments row_moments_f32(const float* x, std::int64_t size, float epsilon) {
  if (size == 0) return {0, 0};
  const float mean = static_cast<float>(lane_sum(x, size, [](float v) { return v; }) / static_cast<double>(size));
  const double squares = lane_sum(x, size, [mean](float v) { return (v - mean) * (v - mean); });
  return {mean, static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(size) + epsilon))};
}

float inverse_root_mean_square_f32(const float* x, std::int64_t size, float epsilon) {
  if (size == 0) return 0;
  const double squares = lane_sum(x, size, [](float v) { return v * v; });
  return static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(size) + epsilon));
}

void normalize_row_f32(const float* x, std::int64_t size, float mean, float factor, const float* scale,
                       const float* bias, float* y) {
  if (scale == nullptr && bias == nullptr) {
    for (std::int64_t i = 0; i < size; ++i) y[i] = (x[i] - mean) * factor;
  } else if (bias == nullptr) {
    for (std::int64_t i = 0; i < size; ++i) y[i] = (x[i] - mean) * factor * scale[i];
  } else {
    for (std::int64_t i = 0; i < size; ++i) y[i] = (x[i] - mean) * factor * (scale == nullptr ? 1.0f : scale[i]) + bias[i];
  }
}

void local_response_f32(const float* x, std::int64_t batch, std::int64_t channels, std::int64_t inner, std::int64_t size,
                        float alpha, float beta, float bias, float* y, base::ThreadPool& pool) {
  const std::int64_t before = (size - 1) / 2, after = size - 1 - before;
  pool.parallel_for(static_cast<std::size_t>(batch * channels), [&](std::size_t plane, int) {
    const std::int64_t c = static_cast<std::int64_t>(plane) % channels;
    const std::int64_t first = std::max<std::int64_t>(0, c - before), last = std::min(channels - 1, c + after);
    const float* image = x + (static_cast<std::int64_t>(plane) - c) * inner;
    float* out = y + static_cast<std::int64_t>(plane) * inner;
    for (std::int64_t i = 0; i < inner; ++i) {
      float squares = 0;
      for (std::int64_t k = first; k <= last; ++k) squares += image[k * inner + i] * image[k * inner + i];
      out[i] = image[c * inner + i] * std::pow(bias + alpha / static_cast<float>(size) * squares, -beta);
    }
  });
}

}  // namespace narrow::kernels
