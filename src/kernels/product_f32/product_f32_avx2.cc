// Register tiles of one panel (two vectors) and up to six rows.
#include <immintrin.h>

#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {
namespace {

constexpr int kRows = 6;

template <int kM>
void tile(const LeftF32& a, std::int64_t first_row, const PackedF32& b, const float* w, std::int64_t step, std::int64_t column,
          const ProductEpilogue& e, float* c, std::int64_t ldc) {
  using Activation = ProductEpilogue::Activation;
  __m256 acc[kM][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const __m256 start = e.bias == nullptr ? _mm256_setzero_ps() : _mm256_loadu_ps(e.bias + column + j * 8);
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) acc[i][j] = start;
  }
  const std::int64_t length = b.k / b.runs;
  for (std::int64_t run = 0; run < b.runs; ++run) {
    const std::int64_t begin = a.offsets == nullptr ? 0 : a.offsets[run];
    const float* from[kM];
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) from[i] = a.row(first_row + i) + begin;
    for (std::int64_t p = 0; p < length; ++p, w += step) {
      const __m256 left = _mm256_load_ps(w), right = _mm256_load_ps(w + 8);
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        const __m256 value = _mm256_broadcast_ss(from[i] + p);
        acc[i][0] = _mm256_fmadd_ps(value, left, acc[i][0]);
        acc[i][1] = _mm256_fmadd_ps(value, right, acc[i][1]);
      }
    }
  }
  const float* residual = e.residual == nullptr ? nullptr : e.residual + first_row * ldc;
  const __m256 low = _mm256_set1_ps(e.low), high = _mm256_set1_ps(e.high), zero = _mm256_setzero_ps();
#pragma GCC unroll 2
  for (int j = 0; j < 2; ++j) {
    const std::int64_t left = b.n - column - j * 8;
    if (left <= 0) break;
    alignas(32) std::int32_t lanes[8];
    for (int l = 0; l < 8; ++l) lanes[l] = l < left ? -1 : 0;
    const __m256i mask = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes));
#pragma GCC unroll 6
    for (int i = 0; i < kM; ++i) {
      const std::int64_t at = i * ldc + column + j * 8;
      __m256 v = acc[i][j];
      if (residual != nullptr) v = _mm256_add_ps(v, _mm256_maskload_ps(residual + at, mask));
      if (e.activation == Activation::kLeaky) v = _mm256_blendv_ps(v, _mm256_mul_ps(v, low), _mm256_cmp_ps(v, zero, _CMP_LT_OQ));
      if (e.activation == Activation::kClip) v = _mm256_min_ps(high, _mm256_max_ps(low, v));
      if (left >= 8) _mm256_storeu_ps(c + at, v);
      else _mm256_maskstore_ps(c + at, mask, v);
    }
  }
}

using Tile = void (*)(const LeftF32&, std::int64_t, const PackedF32&, const float*, std::int64_t, std::int64_t, const ProductEpilogue&, float*, std::int64_t);
constexpr Tile kTiles[kRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

}  // namespace

void product_f32_avx2(const LeftF32& a, std::int64_t m, const PackedF32& b, std::int64_t first, std::int64_t last, const ProductEpilogue& epilogue,
                      float* c, std::int64_t ldc) {
  const std::int64_t blocks = (m + kRows - 1) / kRows;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t panels = b.first_panel(s + 1) - b.first_panel(s);
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      for (std::int64_t block = 0, i = 0; block < blocks; ++block) {
        const std::int64_t rows = (m - i + blocks - block - 1) / (blocks - block);
        kTiles[rows - 1](a, i, b, b.strip(s) + panel * kPanelColumnsF32, panels * kPanelColumnsF32, (b.first_panel(s) + panel) * kPanelColumnsF32, epilogue,
                         c + i * ldc, ldc);
        i += rows;
      }
    }
  }
}

}  // namespace narrow::kernels
