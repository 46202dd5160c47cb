#include <immintrin.h>

#include "kernels/group_dequantize/group_dequantize.h"

namespace narrow::kernels {
namespace {

// Sixteen codes, one a byte.
inline void store16(__m128i codes, __m256 scale, __m256 zero_point, float* out) {
  const __m256 low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
  const __m256 high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)));
  _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_sub_ps(low, zero_point), scale));
  _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_sub_ps(high, zero_point), scale));
}

// Of bytes that hold two 4-bit codes each, in order: the first sixteen codes of the low eight bytes.
inline __m128i spread4(__m128i bytes) {
  const __m128i mask = _mm_set1_epi8(15);
  return _mm_unpacklo_epi8(_mm_and_si128(bytes, mask), _mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
}

void dequantize2(const std::uint8_t* codes, std::size_t n, float scale, float zero_point, float* out) {
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero_point);
  const __m128i mask = _mm_set1_epi8(3);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    // Four codes a byte: pairs first, then single codes.
    const __m128i pairs = spread4(_mm_loadu_si32(codes + i / 4));
    const __m128i singles = _mm_unpacklo_epi8(_mm_and_si128(pairs, mask), _mm_and_si128(_mm_srli_epi16(pairs, 2), mask));
    store16(singles, s, z, out + i);
  }
  kGroupDequantizeReference.bits2(codes + i / 4, n - i, scale, zero_point, out + i);
}

void dequantize4(const std::uint8_t* codes, std::size_t n, float scale, float zero_point, float* out) {
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero_point);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) store16(spread4(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i / 2))), s, z, out + i);
  kGroupDequantizeReference.bits4(codes + i / 2, n - i, scale, zero_point, out + i);
}

void dequantize8(const std::uint8_t* codes, std::size_t n, float scale, float zero_point, float* out) {
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero_point);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) store16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i)), s, z, out + i);
  kGroupDequantizeReference.bits8(codes + i, n - i, scale, zero_point, out + i);
}

}  // namespace

const GroupDequantizeKernels kGroupDequantizeAvx2 = {dequantize2, dequantize4, dequantize8};

}  // namespace narrow::kernels
