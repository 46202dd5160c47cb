// Two byte permutations of two registers each cover the table's halves; the index's top bit chooses between them.
#include <immintrin.h>

#include "kernels/codes/codes.h"

namespace narrow::kernels {

void look_up_avx512vbmi(const std::uint8_t* in, std::size_t n, const std::uint8_t* table, std::uint8_t* out) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  const auto answer = [&](__m512i index) __attribute__((always_inline)) {
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), _mm512_permutex2var_epi8(t0, index, t1), _mm512_permutex2var_epi8(t2, index, t3));
  };
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) _mm512_storeu_si512(out + i, answer(_mm512_loadu_si512(in + i)));
  if (i < n) {
    const __mmask64 mask = (__mmask64{1} << (n - i)) - 1;
    _mm512_mask_storeu_epi8(out + i, mask, answer(_mm512_maskz_loadu_epi8(mask, in + i)));
  }
}

}  // namespace narrow::kernels
