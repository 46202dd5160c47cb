#include <immintrin.h>

#include "kernels/pooling/rows.h"

namespace narrow::kernels {

// _mm512_max_ps(x, into) keeps `into` where the two do not compare, as the scalar loop does.
const PoolRows kPoolRowsAvx512 = {
    [](float* into, const float* x, std::int64_t n) {
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) _mm512_storeu_ps(into + i, _mm512_max_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(into + i)));
      for (; i < n; ++i) into[i] = into[i] < x[i] ? x[i] : into[i];
    },
    [](float* into, const float* x, std::int64_t n) {
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) _mm512_storeu_ps(into + i, _mm512_add_ps(_mm512_loadu_ps(into + i), _mm512_loadu_ps(x + i)));
      for (; i < n; ++i) into[i] += x[i];
    },
    [](float* into, float by, std::int64_t n) {
      const __m512 divisor = _mm512_set1_ps(by);
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) _mm512_storeu_ps(into + i, _mm512_div_ps(_mm512_loadu_ps(into + i), divisor));
      for (; i < n; ++i) into[i] /= by;
    },
};

}  // namespace narrow::kernels
