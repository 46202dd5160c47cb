// Register tiles of up to 4 panels (64 columns).
#include <immintrin.h>

#include <array>
#include <utility>

#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {
namespace {

constexpr int kMaxVectors = 4;
// Rows that leave registers for the panels and one broadcast: rows * vectors <= 28.
constexpr int kRows[kMaxVectors + 1] = {0, 14, 12, 8, 6};

template <int kM, int kV>
inline __attribute__((always_inline)) void store(__m512 (&acc)[kM][kV], const ProductEpilogue& e, std::int64_t column, std::int64_t left, float* c,
                                                 std::int64_t ldc, const float* residual) {
  using Activation = ProductEpilogue::Activation;
  const __m512 low = _mm512_set1_ps(e.low), high = _mm512_set1_ps(e.high), zero = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int j = 0; j < kV; ++j) {
    const std::int64_t rest = left - j * 16;
    const __mmask16 mask = static_cast<__mmask16>(rest >= 16 ? 0xFFFF : rest <= 0 ? 0 : (1u << rest) - 1);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const std::int64_t at = i * ldc + column + j * 16;
      __m512 v = acc[i][j];
      if (residual != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, residual + at));
      if (e.activation == Activation::kLeaky) v = _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ), v, low);
      if (e.activation == Activation::kClip) v = _mm512_min_ps(high, _mm512_max_ps(low, v));
      if (mask == 0xFFFF) _mm512_storeu_ps(c + at, v);
      else _mm512_mask_storeu_ps(c + at, mask, v);
    }
  }
}

template <int kM, int kV>
void tile(const LeftF32& a, std::int64_t first_row, const PackedF32& b, const float* w, std::int64_t column, const ProductEpilogue& e, float* c,
          std::int64_t ldc) {
  __m512 acc[kM][kV];
#pragma GCC unroll 4
  for (int j = 0; j < kV; ++j) {
    const __m512 start = e.bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(e.bias + column + j * 16);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) acc[i][j] = start;
  }
  const std::int64_t length = b.k / b.runs;
  for (std::int64_t run = 0; run < b.runs; ++run) {
    const std::int64_t begin = a.offsets == nullptr ? 0 : a.offsets[run];
    const float* from[kM];
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) from[i] = a.row(first_row + i) + begin;
    for (std::int64_t p = 0; p < length; ++p, w += kV * 16) {
      __m512 columns[kV];
#pragma GCC unroll 4
      for (int j = 0; j < kV; ++j) columns[j] = _mm512_load_ps(w + j * 16);
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) {
        const __m512 value = _mm512_set1_ps(from[i][p]);
#pragma GCC unroll 4
        for (int j = 0; j < kV; ++j) acc[i][j] = _mm512_fmadd_ps(value, columns[j], acc[i][j]);
      }
    }
  }
  store<kM, kV>(acc, e, column, b.n - column, c, ldc, e.residual == nullptr ? nullptr : e.residual + first_row * ldc);
}

using Tile = void (*)(const LeftF32&, std::int64_t, const PackedF32&, const float*, std::int64_t, const ProductEpilogue&, float*, std::int64_t);

template <int kV, int... kM>
constexpr std::array<Tile, 14> tiles(std::integer_sequence<int, kM...>) {
  return {tile<kM + 1, kV>...};
}

constexpr std::array<std::array<Tile, 14>, kMaxVectors> kTiles = {
    tiles<1>(std::make_integer_sequence<int, kRows[1]>()), tiles<2>(std::make_integer_sequence<int, kRows[2]>()),
    tiles<3>(std::make_integer_sequence<int, kRows[3]>()), tiles<4>(std::make_integer_sequence<int, kRows[4]>())};

}  // namespace

void product_f32_avx512(const LeftF32& a, std::int64_t m, const PackedF32& b, std::int64_t first, std::int64_t last, const ProductEpilogue& epilogue,
                        float* c, std::int64_t ldc) {
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t column = b.first_panel(s) * kPanelColumnsF32;
    const int vectors = static_cast<int>(b.first_panel(s + 1) - b.first_panel(s));
    // Rows in even tiles rather than full ones and a small rest.
    const std::int64_t blocks = (m + kRows[vectors] - 1) / kRows[vectors];
    for (std::int64_t block = 0, i = 0; block < blocks; ++block) {
      const std::int64_t rows = (m - i + blocks - block - 1) / (blocks - block);
      kTiles[vectors - 1][rows - 1](a, i, b, b.strip(s), column, epilogue, c + i * ldc, ldc);
      i += rows;
    }
  }
}

}  // namespace narrow::kernels
