#include <immintrin.h>

#include "kernels/convolution/depthwise_f32.h"

namespace narrow::kernels {
namespace {

using Activation = ProductEpilogue::Activation;

// kPixels pixels by kVectors vectors of channels, whole ones where kFull.
template <int kPixels, int kVectors, bool kFull>
inline __attribute__((always_inline)) void pixels(const DepthwiseLine& x, std::int64_t first, std::int64_t channel, __mmask16 mask, const ProductEpilogue& e, float* y) {
  __m512 acc[kPixels][kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const __m512 start = e.bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(e.bias + channel + j * 16);
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) acc[i][j] = start;
  }
  const float* base = x.base + first * x.step + channel;
  for (std::int64_t t = 0; t < x.taps; ++t) {
    const float* from = base + x.offsets[t];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const __m512 weight = _mm512_load_ps(x.weights[t] + channel + j * 16);
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) {
        const __m512 value = kFull ? _mm512_loadu_ps(from + i * x.step + j * 16) : _mm512_maskz_loadu_ps(mask, from + i * x.step + j * 16);
        acc[i][j] = _mm512_fmadd_ps(weight, value, acc[i][j]);
      }
    }
  }
  const __m512 low = _mm512_set1_ps(e.low), high = _mm512_set1_ps(e.high), zero = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int i = 0; i < kPixels; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const std::int64_t at = (first + i) * x.channels + channel + j * 16;
      __m512 v = acc[i][j];
      if (e.residual != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, e.residual + at));
      if (e.activation == Activation::kLeaky) v = _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ), v, low);
      if (e.activation == Activation::kClip) v = _mm512_min_ps(high, _mm512_max_ps(low, v));
      if (kFull) _mm512_storeu_ps(y + at, v);
      else _mm512_mask_storeu_ps(y + at, mask, v);
    }
  }
}

// kPixels pixels from `first` on, every channel.
template <int kPixels>
void group(const DepthwiseLine& x, std::int64_t first, const ProductEpilogue& e, float* y) {
  std::int64_t c = 0;
  if constexpr (kPixels == 1) {  // several sums at once, or each waits for the one before
    for (; c + 4 * 16 <= x.channels; c += 4 * 16) pixels<1, 4, true>(x, first, c, 0xFFFF, e, y);
  }
  for (; c + 16 <= x.channels; c += 16) pixels<kPixels, 1, true>(x, first, c, 0xFFFF, e, y);
  if (const std::int64_t left = x.channels - c; left > 0) pixels<kPixels, 1, false>(x, first, c, static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1u << left) - 1), e, y);
}

}  // namespace

void depthwise_f32_avx512(const DepthwiseLine& x, const ProductEpilogue& e, float* y) {
  std::int64_t i = 0;
  for (; i + 8 <= x.pixels; i += 8) group<8>(x, i, e, y);
  for (; i + 4 <= x.pixels; i += 4) group<4>(x, i, e, y);
  for (; i < x.pixels; ++i) group<1>(x, i, e, y);
}

}  // namespace narrow::kernels
