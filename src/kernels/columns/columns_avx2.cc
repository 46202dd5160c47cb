#include <immintrin.h>

#include "kernels/columns/columns.h"

namespace narrow::kernels {
namespace {

constexpr int kLanes = 8, kVectors = kColumnRows / kLanes;

inline __m256 nearest(__m256 value, __m256 low, __m256 high) {
  return _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(value, low), high), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

void spread(TileColumn* to, const float* change, const float* row, std::int64_t width) {
  __m256 by[kVectors];
  for (int v = 0; v < kVectors; ++v) by[v] = _mm256_loadu_ps(change + v * kLanes);
  for (std::int64_t j = 0; j < width; ++j) {
    const __m256 factor = _mm256_set1_ps(row[j]);
    for (int v = 0; v < kVectors; ++v) {
      float* at = to[j] + v * kLanes;
      _mm256_store_ps(at, _mm256_fmadd_ps(by[v], factor, _mm256_load_ps(at)));
    }
  }
}

void add(float* to, float change, const float* row, std::int64_t count) {
  const __m256 by = _mm256_set1_ps(change);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) _mm256_storeu_ps(to + i, _mm256_fmadd_ps(by, _mm256_loadu_ps(row + i), _mm256_loadu_ps(to + i)));
  for (; i < count; ++i) to[i] += change * row[i];
}

void fit(const TileColumn* weight, const float* importance, std::int64_t count, const float* scale, const float* low, const float* high,
         GridFit* fit) {
  for (int v = 0; v < kVectors; ++v) {
    const __m256 s = _mm256_loadu_ps(scale + v * kLanes), inverse = _mm256_div_ps(_mm256_set1_ps(1), s);
    const __m256 least = _mm256_loadu_ps(low + v * kLanes), most = _mm256_loadu_ps(high + v * kLanes);
    __m256 error = _mm256_setzero_ps(), along = error, square = error;
    for (std::int64_t k = 0; k < count; ++k) {
      const __m256 w = _mm256_load_ps(weight[k] + v * kLanes), h = _mm256_set1_ps(importance == nullptr ? 1.0f : importance[k]);
      const __m256 steps = nearest(_mm256_mul_ps(w, inverse), least, most), off = _mm256_fnmadd_ps(steps, s, w), part = _mm256_mul_ps(h, steps);
      error = _mm256_fmadd_ps(_mm256_mul_ps(h, off), off, error);
      along = _mm256_fmadd_ps(part, w, along);
      square = _mm256_fmadd_ps(part, steps, square);
    }
    _mm256_store_ps(fit->error + v * kLanes, error);
    _mm256_store_ps(fit->along + v * kLanes, along);
    _mm256_store_ps(fit->square + v * kLanes, square);
  }
}

void round(const float* wanted, const float* weight, const float* scale, const float* low, const float* high, float* steps, float* error) {
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const __m256 s = _mm256_loadu_ps(scale + at);
    const __m256 found = nearest(_mm256_div_ps(_mm256_loadu_ps(wanted + at), s), _mm256_loadu_ps(low + at), _mm256_loadu_ps(high + at));
    _mm256_storeu_ps(steps + at, found);
    _mm256_storeu_ps(error + at, _mm256_fnmadd_ps(found, s, _mm256_loadu_ps(weight + at)));
  }
}

bool descend(const float* gradient, float inverse, const float* scale, const float* low, const float* high, float* steps, float* change) {
  int moved = 0;
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const __m256 s = _mm256_loadu_ps(scale + at), before = _mm256_loadu_ps(steps + at);
    const __m256 wanted = _mm256_add_ps(before, _mm256_div_ps(_mm256_mul_ps(_mm256_loadu_ps(gradient + at), _mm256_set1_ps(inverse)), s));
    const __m256 found = nearest(wanted, _mm256_loadu_ps(low + at), _mm256_loadu_ps(high + at));
    _mm256_storeu_ps(change + at, _mm256_mul_ps(_mm256_sub_ps(before, found), s));
    _mm256_storeu_ps(steps + at, found);
    moved |= _mm256_movemask_ps(_mm256_cmp_ps(before, found, _CMP_NEQ_OQ));
  }
  return moved != 0;
}

}  // namespace

const ColumnKernels kColumnsAvx2 = {spread, add, fit, round, descend};

}  // namespace narrow::kernels
