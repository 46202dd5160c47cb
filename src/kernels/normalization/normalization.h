// Normalizations over rows: contiguous runs of `size` elements, each with its own mean and variance.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace narrow::kernels {

// y = x * scale[c] + shift[c] over [batch, channels, inner].
void scale_shift_f32(const float* x, std::int64_t batch, std::int64_t channels, std::int64_t inner, const float* scale,
                     const float* shift, float* y, base::ThreadPool& pool);

struct RowMoments {
  float mean, inverse_deviation;  // 1 / sqrt(variance + epsilon), the variance biased
};
RowMoments row_moments_f32(const float* x, std::int64_t size, float epsilon);
// 1 / sqrt(mean(x^2) + epsilon).
float inverse_root_mean_square_f32(const float* x, std::int64_t size, float epsilon);

// y[i] = (x[i] - mean) * factor * scale[i] + bias[i]; scale and bias may be null (1 and 0). y may be x.
void normalize_row_f32(const float* x, std::int64_t size, float mean, float factor, const float* scale,
                       const float* bias, float* y);

// Local response normalization across channels of [batch, channels, inner].
void local_response_f32(const float* x, std::int64_t batch, std::int64_t channels, std::int64_t inner, std::int64_t size,
                        float alpha, float beta, float bias, float* y, base::ThreadPool& pool);

}  // namespace narrow::kernels
