#include <immintrin.h>

#include <cmath>

#include "kernels/softmax/rows.h"

namespace narrow::kernels {
namespace {

// As the AVX-512 file's, with the power of two built by hand: results below the normal range are 0.
__m256 exponential(__m256 x) {
  const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
  x = _mm256_min_ps(_mm256_set1_ps(88.3f), _mm256_max_ps(_mm256_set1_ps(-87.3f), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_andnot_ps(tiny, _mm256_mul_ps(p, _mm256_castsi256_ps(power)));
}

}  // namespace

const SoftmaxRows kSoftmaxRowsAvx2 = {
    [](const float* x, std::int64_t n) {
      __m256 largest = _mm256_set1_ps(x[0]);
      std::int64_t i = 0;
      for (; i + 8 <= n; i += 8) largest = _mm256_max_ps(largest, _mm256_loadu_ps(x + i));
      float lanes[8];
      _mm256_storeu_ps(lanes, largest);
      for (int lane = 1; lane < 8; ++lane) lanes[0] = lanes[0] < lanes[lane] ? lanes[lane] : lanes[0];
      for (; i < n; ++i) lanes[0] = lanes[0] < x[i] ? x[i] : lanes[0];
      return lanes[0];
    },
    [](const float* x, std::int64_t n, float shift, float* y) {
      const __m256 s = _mm256_set1_ps(shift);
      __m256 sum = _mm256_setzero_ps();
      std::int64_t i = 0;
      for (; i + 8 <= n; i += 8) {
        const __m256 e = exponential(_mm256_sub_ps(_mm256_loadu_ps(x + i), s));
        if (y != nullptr) _mm256_storeu_ps(y + i, e);
        sum = _mm256_add_ps(sum, e);
      }
      float lanes[8];
      _mm256_storeu_ps(lanes, sum);
      float total = 0;
      for (float lane : lanes) total += lane;
      for (; i < n; ++i) {
        const float e = std::exp(x[i] - shift);
        if (y != nullptr) y[i] = e;
        total += e;
      }
      return total;
    },
    [](float* y, std::int64_t n, float by) {
      const __m256 factor = _mm256_set1_ps(by);
      std::int64_t i = 0;
      for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), factor));
      for (; i < n; ++i) y[i] *= by;
    },
};

}  // namespace narrow::kernels
