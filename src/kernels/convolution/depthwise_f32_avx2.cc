#include <immintrin.h>

#include "kernels/convolution/depthwise_f32.h"

namespace narrow::kernels {
namespace {

using Activation = ProductEpilogue::Activation;

// kPixels pixels by kVectors vectors of channels, whole ones where kFull.
template <int kPixels, int kVectors, bool kFull>
inline __attribute__((always_inline)) void pixels(const DepthwiseLine& x, std::int64_t first, std::int64_t channel, __m256i mask, const ProductEpilogue& e, float* y) {
  __m256 acc[kPixels][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const __m256 start = e.bias == nullptr ? _mm256_setzero_ps() : _mm256_loadu_ps(e.bias + channel + j * 8);
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i][j] = start;
  }
  const float* base = x.base + first * x.step + channel;
  for (std::int64_t t = 0; t < x.taps; ++t) {
    const float* from = base + x.offsets[t];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const __m256 weight = _mm256_load_ps(x.weights[t] + channel + j * 8);
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) {
        const __m256 value = kFull ? _mm256_loadu_ps(from + i * x.step + j * 8) : _mm256_maskload_ps(from + i * x.step + j * 8, mask);
        acc[i][j] = _mm256_fmadd_ps(weight, value, acc[i][j]);
      }
    }
  }
  const __m256 low = _mm256_set1_ps(e.low), high = _mm256_set1_ps(e.high), zero = _mm256_setzero_ps();
#pragma GCC unroll 8
  for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const std::int64_t at = (first + i) * x.channels + channel + j * 8;
      __m256 v = acc[i][j];
      if (e.residual != nullptr) v = _mm256_add_ps(v, _mm256_maskload_ps(e.residual + at, mask));
      if (e.activation == Activation::kLeaky) v = _mm256_blendv_ps(v, _mm256_mul_ps(v, low), _mm256_cmp_ps(v, zero, _CMP_LT_OQ));
      if (e.activation == Activation::kClip) v = _mm256_min_ps(high, _mm256_max_ps(low, v));
      if (kFull) _mm256_storeu_ps(y + at, v);
      else _mm256_maskstore_ps(y + at, mask, v);
    }
  }
}

__m256i lanes(std::int64_t left) {
  alignas(32) std::int32_t all[8];
  for (int l = 0; l < 8; ++l) all[l] = l < left ? -1 : 0;
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(all));
}

// kPixels pixels from `first` on, every channel.
template <int kPixels>
void group(const DepthwiseLine& x, std::int64_t first, const ProductEpilogue& e, float* y) {
  std::int64_t c = 0;
  if constexpr (kPixels == 1) {  // several sums at once, or each waits for the one before
    for (; c + 4 * 8 <= x.channels; c += 4 * 8) pixels<1, 4, true>(x, first, c, _mm256_set1_epi32(-1), e, y);
  }
  for (; c + 8 <= x.channels; c += 8) pixels<kPixels, 1, true>(x, first, c, _mm256_set1_epi32(-1), e, y);
  if (const std::int64_t left = x.channels - c; left > 0) pixels<kPixels, 1, false>(x, first, c, lanes(left), e, y);
}

}  // namespace

void depthwise_f32_avx2(const DepthwiseLine& x, const ProductEpilogue& e, float* y) {
  std::int64_t i = 0;
  for (; i + 6 <= x.pixels; i += 6) group<6>(x, i, e, y);
  for (; i + 4 <= x.pixels; i += 4) group<4>(x, i, e, y);
  for (; i < x.pixels; ++i) group<1>(x, i, e, y);
}

}  // namespace narrow::kernels
