#include <immintrin.h>

#include "kernels/affine/affine.h"

namespace narrow::kernels {
namespace {

template <bool kSigned>
struct Range {
  static constexpr int kMin = kSigned ? -128 : 0;
  static constexpr int kMax = kSigned ? 127 : 255;
};

// Eight codes as s32, before narrowing.
inline __m256i quantize8(__m256 x, __m256 scale, __m256 low, __m256 high, __m256i zero_point) {
  __m256 v = _mm256_div_ps(x, scale);
  v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
  v = _mm256_min_ps(_mm256_max_ps(v, low), high);
  return _mm256_add_epi32(_mm256_cvtps_epi32(v), zero_point);
}

template <bool kSigned, typename T>
void quantize(const float* x, std::size_t n, float scale, std::int32_t zero_point, T* q) {
  const __m256 s = _mm256_set1_ps(scale);
  const __m256 low = _mm256_set1_ps(static_cast<float>(Range<kSigned>::kMin - zero_point));
  const __m256 high = _mm256_set1_ps(static_cast<float>(Range<kSigned>::kMax - zero_point));
  const __m256i zero = _mm256_set1_epi32(zero_point);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i a = quantize8(_mm256_loadu_ps(x + i), s, low, high, zero);
    const __m256i b = quantize8(_mm256_loadu_ps(x + i + 8), s, low, high, zero);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    const __m128i lo = _mm256_castsi256_si128(words), hi = _mm256_extracti128_si256(words, 1);
    const __m128i bytes = kSigned ? _mm_packs_epi16(lo, hi) : _mm_packus_epi16(lo, hi);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i), bytes);
  }
  if (i < n) kSigned ? kAffineReference.quantize_s8(x + i, n - i, scale, zero_point, reinterpret_cast<std::int8_t*>(q + i))
                     : kAffineReference.quantize_u8(x + i, n - i, scale, zero_point, reinterpret_cast<std::uint8_t*>(q + i));
}

template <bool kSigned, typename T>
void dequantize(const T* q, std::size_t n, float scale, std::int32_t zero_point, float* x) {
  const __m256 s = _mm256_set1_ps(scale);
  const __m256i zero = _mm256_set1_epi32(zero_point);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i));
    const __m256i wide = kSigned ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(wide, zero)), s));
  }
  for (; i < n; ++i) x[i] = static_cast<float>(q[i] - zero_point) * scale;
}

void min_max(const float* x, std::size_t n, float* min, float* max) {
  if (n < 8) return kAffineReference.min_max(x, n, min, max);
  __m256 low = _mm256_set1_ps(__builtin_inff()), high = _mm256_set1_ps(-__builtin_inff());
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);  // min and max return the second operand when v is NaN
    low = _mm256_min_ps(v, low);
    high = _mm256_max_ps(v, high);
  }
  float lows[16], highs[16];
  _mm256_storeu_ps(lows, low);
  _mm256_storeu_ps(highs, high);
  std::size_t count = 8;
  for (; i < n; ++i, ++count) lows[count] = highs[count] = x[i];
  float other;
  kAffineReference.min_max(lows, count, min, &other);
  kAffineReference.min_max(highs, count, &other, max);
  if (*min > *max) *min = *max = 0;
}

void error_u8(const float* x, const std::uint8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* error, float* size) {
  const __m256 s = _mm256_set1_ps(scale);
  const __m256i zero = _mm256_set1_epi32(zero_point);
  __m256 errors = _mm256_setzero_ps(), sizes = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + i)));
    const __m256 v = _mm256_loadu_ps(x + i), difference = _mm256_sub_ps(v, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(codes, zero)), s));
    errors = _mm256_fmadd_ps(difference, difference, errors);
    sizes = _mm256_fmadd_ps(v, v, sizes);
  }
  kAffineReference.error_u8(x + i, q + i, n - i, scale, zero_point, error, size);
  alignas(32) float lanes[8], more[8];
  _mm256_store_ps(lanes, errors);
  _mm256_store_ps(more, sizes);
  for (int j = 0; j < 8; ++j) {
    *error += lanes[j];
    *size += more[j];
  }
}

}  // namespace

const AffineKernels kAffineAvx2 = {quantize<false, std::uint8_t>, quantize<true, std::int8_t>,
                                   dequantize<false, std::uint8_t>, dequantize<true, std::int8_t>, min_max, error_u8};

}  // namespace narrow::kernels
