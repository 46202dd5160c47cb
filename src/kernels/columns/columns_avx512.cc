#include <immintrin.h>

#include "kernels/columns/columns.h"

namespace narrow::kernels {
namespace {

constexpr int kLanes = 16, kVectors = kColumnRows / kLanes;

inline __m512 nearest(__m512 value, __m512 low, __m512 high) {
  return _mm512_roundscale_ps(_mm512_min_ps(_mm512_max_ps(value, low), high), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

void spread(TileColumn* to, const float* change, const float* row, std::int64_t width) {
  __m512 by[kVectors];
  for (int v = 0; v < kVectors; ++v) by[v] = _mm512_loadu_ps(change + v * kLanes);
  for (std::int64_t j = 0; j < width; ++j) {
    const __m512 factor = _mm512_set1_ps(row[j]);
    for (int v = 0; v < kVectors; ++v) {
      float* at = to[j] + v * kLanes;
      _mm512_store_ps(at, _mm512_fmadd_ps(by[v], factor, _mm512_load_ps(at)));
    }
  }
}

void add(float* to, float change, const float* row, std::int64_t count) {
  const __m512 by = _mm512_set1_ps(change);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) _mm512_storeu_ps(to + i, _mm512_fmadd_ps(by, _mm512_loadu_ps(row + i), _mm512_loadu_ps(to + i)));
  for (; i < count; ++i) to[i] += change * row[i];
}

void fit(const TileColumn* weight, const float* importance, std::int64_t count, const float* scale, const float* low, const float* high,
         GridFit* fit) {
  for (int v = 0; v < kVectors; ++v) {
    const __m512 s = _mm512_loadu_ps(scale + v * kLanes), inverse = _mm512_div_ps(_mm512_set1_ps(1), s);
    const __m512 least = _mm512_loadu_ps(low + v * kLanes), most = _mm512_loadu_ps(high + v * kLanes);
    __m512 error = _mm512_setzero_ps(), along = error, square = error;
    for (std::int64_t k = 0; k < count; ++k) {
      const __m512 w = _mm512_load_ps(weight[k] + v * kLanes), h = _mm512_set1_ps(importance == nullptr ? 1.0f : importance[k]);
      const __m512 steps = nearest(_mm512_mul_ps(w, inverse), least, most), off = _mm512_fnmadd_ps(steps, s, w), part = _mm512_mul_ps(h, steps);
      error = _mm512_fmadd_ps(_mm512_mul_ps(h, off), off, error);
      along = _mm512_fmadd_ps(part, w, along);
      square = _mm512_fmadd_ps(part, steps, square);
    }
    _mm512_store_ps(fit->error + v * kLanes, error);
    _mm512_store_ps(fit->along + v * kLanes, along);
    _mm512_store_ps(fit->square + v * kLanes, square);
  }
}

void round(const float* wanted, const float* weight, const float* scale, const float* low, const float* high, float* steps, float* error) {
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const __m512 s = _mm512_loadu_ps(scale + at);
    const __m512 found = nearest(_mm512_div_ps(_mm512_loadu_ps(wanted + at), s), _mm512_loadu_ps(low + at), _mm512_loadu_ps(high + at));
    _mm512_storeu_ps(steps + at, found);
    _mm512_storeu_ps(error + at, _mm512_fnmadd_ps(found, s, _mm512_loadu_ps(weight + at)));
  }
}

bool descend(const float* gradient, float inverse, const float* scale, const float* low, const float* high, float* steps, float* change) {
  int moved = 0;
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const __m512 s = _mm512_loadu_ps(scale + at), before = _mm512_loadu_ps(steps + at);
    const __m512 wanted = _mm512_add_ps(before, _mm512_div_ps(_mm512_mul_ps(_mm512_loadu_ps(gradient + at), _mm512_set1_ps(inverse)), s));
    const __m512 found = nearest(wanted, _mm512_loadu_ps(low + at), _mm512_loadu_ps(high + at));
    _mm512_storeu_ps(change + at, _mm512_mul_ps(_mm512_sub_ps(before, found), s));
    _mm512_storeu_ps(steps + at, found);
    moved |= _mm512_cmp_ps_mask(before, found, _CMP_NEQ_OQ);
  }
  return moved != 0;
}

}  // namespace

const ColumnKernels kColumnsAvx512 = {spread, add, fit, round, descend};

}  // namespace narrow::kernels
