#include <immintrin.h>

#include "kernels/softmax/rows.h"

namespace narrow::kernels {
namespace {

// exp by 2^n * p(r), |r| <= ln(2)/2, p of degree 5 (the coefficients of Cephes' expf). At most 2 ulp off; -inf gives 0.
__m512 exponential(__m512 x) {
  // In this order NaN passes through. Below -104 the result rounds to 0.
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

__mmask16 tail(std::int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

}  // namespace

const SoftmaxRows kSoftmaxRowsAvx512 = {
    [](const float* x, std::int64_t n) {
      __m512 largest = _mm512_set1_ps(x[0]);
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) largest = _mm512_max_ps(largest, _mm512_loadu_ps(x + i));
      if (i < n) largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(largest, tail(n - i), x + i));
      return _mm512_reduce_max_ps(largest);
    },
    [](const float* x, std::int64_t n, float shift, float* y) {
      const __m512 s = _mm512_set1_ps(shift);
      __m512 sum = _mm512_setzero_ps();
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) {
        const __m512 e = exponential(_mm512_sub_ps(_mm512_loadu_ps(x + i), s));
        if (y != nullptr) _mm512_storeu_ps(y + i, e);
        sum = _mm512_add_ps(sum, e);
      }
      if (i < n) {
        const __mmask16 mask = tail(n - i);
        const __m512 e = exponential(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), s));
        if (y != nullptr) _mm512_mask_storeu_ps(y + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
      }
      return _mm512_reduce_add_ps(sum);
    },
    [](float* y, std::int64_t n, float by) {
      const __m512 factor = _mm512_set1_ps(by);
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_loadu_ps(y + i), factor));
      for (; i < n; ++i) y[i] *= by;
    },
};

}  // namespace narrow::kernels
