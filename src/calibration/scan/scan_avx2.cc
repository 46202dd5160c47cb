#include <immintrin.h>

#include "calibration/scan/scan.h"

namespace narrow::calibration {
namespace {

ScanResult scan(const float* x, std::size_t n) {
  const std::size_t whole = n / 8 * 8;
  __m256 low = _mm256_set1_ps(x[0]), high = low;
  __m256d sum0 = _mm256_setzero_pd(), sum1 = sum0, squares0 = sum0, squares1 = sum0;
  __m256 bad = _mm256_setzero_ps();
  __m256i zeros = _mm256_setzero_si256();
  for (std::size_t i = 0; i < whole; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    low = _mm256_min_ps(low, v);
    high = _mm256_max_ps(high, v);
    // v - v is NaN for NaN and infinities, and 0 otherwise.
    bad = _mm256_or_ps(bad, _mm256_sub_ps(v, v));
    zeros = _mm256_sub_epi32(zeros, _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ)));
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    sum0 = _mm256_add_pd(sum0, a);
    sum1 = _mm256_add_pd(sum1, b);
    squares0 = _mm256_fmadd_pd(a, a, squares0);
    squares1 = _mm256_fmadd_pd(b, b, squares1);
  }
  alignas(32) float lows[8], highs[8];
  alignas(32) double sums[8], squares[8];
  alignas(32) std::uint32_t zero_lanes[8];
  _mm256_store_ps(lows, low);
  _mm256_store_ps(highs, high);
  _mm256_store_pd(sums, sum0);
  _mm256_store_pd(sums + 4, sum1);
  _mm256_store_pd(squares, squares0);
  _mm256_store_pd(squares + 4, squares1);
  _mm256_store_si256(reinterpret_cast<__m256i*>(zero_lanes), zeros);
  ScanResult r{lows[0], highs[0]};
  r.finite = _mm256_movemask_ps(_mm256_cmp_ps(bad, bad, _CMP_UNORD_Q)) == 0;
  for (std::size_t i = whole; i < n; ++i) {
    const float v = x[i];
    r.finite = r.finite && v - v == 0;
    if (v < r.min) r.min = v;
    if (v > r.max) r.max = v;
    r.zeros += v == 0;
    sums[i % 8] += static_cast<double>(v);
    squares[i % 8] += static_cast<double>(v) * v;
  }
  for (int lane = 0; lane < 8; ++lane) {
    if (lows[lane] < r.min) r.min = lows[lane];
    if (highs[lane] > r.max) r.max = highs[lane];
    r.zeros += zero_lanes[lane];
    r.sum += sums[lane];
    r.sum_squares += squares[lane];
  }
  r.min += 0.0f;
  r.max += 0.0f;
  return r;
}

void count(const float* x, std::size_t n, float inverse_width, std::int32_t first, std::uint32_t* counts, std::size_t stride) {
  std::uint32_t* c0 = counts;
  std::uint32_t* c1 = counts + stride;
  std::uint32_t* c2 = counts + 2 * stride;
  std::uint32_t* c3 = counts + 3 * stride;
  const __m256 inverse = _mm256_set1_ps(inverse_width), zero = _mm256_setzero_ps();
  const __m256i base = _mm256_set1_epi32(first);
  const std::size_t whole = n / 8 * 8;
  alignas(32) std::int32_t cell[8];
  for (std::size_t i = 0; i < whole; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    const __m256 scaled = _mm256_mul_ps(v, inverse);
    // Where a negative number underflowed to zero its cell is -1: the mask is -1 as an integer.
    const __m256 lost = _mm256_and_ps(_mm256_cmp_ps(v, zero, _CMP_LT_OQ), _mm256_cmp_ps(scaled, zero, _CMP_EQ_OQ));
    __m256i index = _mm256_cvttps_epi32(_mm256_floor_ps(scaled));
    index = _mm256_sub_epi32(_mm256_add_epi32(index, _mm256_castps_si256(lost)), base);
    _mm256_store_si256(reinterpret_cast<__m256i*>(cell), index);
    // Four tables: repeated values would otherwise wait for each other's store.
    ++c0[cell[0]];
    ++c1[cell[1]];
    ++c2[cell[2]];
    ++c3[cell[3]];
    ++c0[cell[4]];
    ++c1[cell[5]];
    ++c2[cell[6]];
    ++c3[cell[7]];
  }
  for (std::size_t i = whole; i < n; ++i) ++counts[(i % 4) * stride + static_cast<std::size_t>(cell_of(x[i], inverse_width) - first)];
}

}  // namespace

constinit const ScanKernel kScanAvx2{"scan_avx2", base::Isa::kAvx2, scan, count};

}  // namespace narrow::calibration
