#include <immintrin.h>

#include <bit>
#include <cstdint>

#include "kernels/half/half.h"

namespace narrow::kernels {
namespace {

void widen_f16(const base::Float16* from, std::size_t n, float* to) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    const __m256 wide = _mm256_cvtph_ps(bits);
    // The instruction makes a signalling NaN quiet; its bits are made from the 16 as they are.
    const __m256i all = _mm256_cvtepu16_epi32(bits), magnitude = _mm256_and_si256(all, _mm256_set1_epi32(0x7FFF));
    const __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7C00));
    if (_mm256_testz_si256(nan, nan) != 0) {
      _mm256_storeu_ps(to + i, wide);
      continue;
    }
    for (std::size_t j = i; j < i + 8; ++j) to[j] = base::to_float(from[j]);
  }
  for (; i < n; ++i) to[i] = base::to_float(from[i]);
}

void widen_bf16(const base::BFloat16* from, std::size_t n, float* to) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_slli_epi32(bits, 16));
  }
  for (; i < n; ++i) to[i] = base::to_float(from[i]);
}

}  // namespace

const HalfKernels kHalfAvx2 = {widen_f16, widen_bf16};

}  // namespace narrow::kernels
