#include <immintrin.h>

#include "kernels/affine/affine.h"

namespace narrow::kernels {
namespace {

inline __mmask16 first(std::size_t n) { return static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1u << n) - 1); }

template <bool kSigned, typename T>
void quantize(const float* x, std::size_t n, float scale, std::int32_t zero_point, T* q) {
  const __m512 s = _mm512_set1_ps(scale);
  const __m512 low = _mm512_set1_ps(static_cast<float>((kSigned ? -128 : 0) - zero_point));
  const __m512 high = _mm512_set1_ps(static_cast<float>((kSigned ? 127 : 255) - zero_point));
  const __m512i zero = _mm512_set1_epi32(zero_point);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const auto code = [&](const float* from) __attribute__((always_inline)) {
    __m512 v = _mm512_div_ps(_mm512_loadu_ps(from), s);
    v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
    return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, low), high)), zero);
  };
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {  // packing works within 128-bit lanes
    const __m512i a = _mm512_packs_epi32(code(x + i), code(x + i + 16)), b = _mm512_packs_epi32(code(x + i + 32), code(x + i + 48));
    _mm512_storeu_si512(q + i, _mm512_permutexvar_epi32(order, kSigned ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b)));
  }
  for (; i < n; i += 16) {
    const __mmask16 mask = first(n - i);
    __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + i), s);
    v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
    v = _mm512_min_ps(_mm512_max_ps(v, low), high);
    const __m512i codes = _mm512_add_epi32(_mm512_cvtps_epi32(v), zero);
    _mm_mask_storeu_epi8(q + i, mask, _mm512_cvtepi32_epi8(codes));
  }
}

template <bool kSigned, typename T>
void dequantize(const T* q, std::size_t n, float scale, std::int32_t zero_point, float* x) {
  const __m512 s = _mm512_set1_ps(scale);
  const __m512i zero = _mm512_set1_epi32(zero_point);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q + i));
    const __m512i wide = kSigned ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    _mm512_storeu_ps(x + i, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide, zero)), s));
  }
  for (; i < n; i += 16) {
    const __mmask16 mask = first(n - i);
    const __m128i bytes = _mm_maskz_loadu_epi8(mask, q + i);
    const __m512i wide = kSigned ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide, zero)), s));
  }
}

void min_max(const float* x, std::size_t n, float* min, float* max) {
  __m512 low = _mm512_set1_ps(__builtin_inff()), high = _mm512_set1_ps(-__builtin_inff());
  for (std::size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = first(n - i);
    const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);  // min and max return the second operand when v is NaN
    low = _mm512_mask_min_ps(low, mask, v, low);
    high = _mm512_mask_max_ps(high, mask, v, high);
  }
  *min = _mm512_reduce_min_ps(low);
  *max = _mm512_reduce_max_ps(high);
  if (!(*min <= *max)) *min = *max = 0;
}

void error_u8(const float* x, const std::uint8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* error, float* size) {
  const __m512 s = _mm512_set1_ps(scale);
  const __m512i zero = _mm512_set1_epi32(zero_point);
  __m512 errors = _mm512_setzero_ps(), sizes = _mm512_setzero_ps();
  for (std::size_t i = 0; i < n; i += 16) {
    const __mmask16 mask = first(n - i);
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, q + i));
    const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
    const __m512 difference = _mm512_maskz_sub_ps(mask, v, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(codes, zero)), s));
    errors = _mm512_fmadd_ps(difference, difference, errors);
    sizes = _mm512_fmadd_ps(v, v, sizes);
  }
  *error = _mm512_reduce_add_ps(errors);
  *size = _mm512_reduce_add_ps(sizes);
}

}  // namespace

const AffineKernels kAffineAvx512 = {quantize<false, std::uint8_t>, quantize<true, std::int8_t>,
                                     dequantize<false, std::uint8_t>, dequantize<true, std::int8_t>, min_max, error_u8};

}  // namespace narrow::kernels
