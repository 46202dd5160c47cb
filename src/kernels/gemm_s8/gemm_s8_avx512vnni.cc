// Register tiles of up to 4 panels (64 columns): vpdpbusd sums four products a lane, exactly.
#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {
namespace {

constexpr int kMaxVectors = 4;
// Rows that leave registers for the panels and one broadcast: rows * vectors <= 28.
constexpr int kRows[kMaxVectors + 1] = {0, 14, 12, 8, 6};

inline std::int32_t load_quad(const std::uint8_t* p) {
  std::int32_t quad;
  std::memcpy(&quad, p, 4);
  return quad;
}

inline std::int32_t load_partial(const std::uint8_t* p, std::int64_t count) {
  std::int32_t quad = 0;
  std::memcpy(&quad, p, static_cast<std::size_t>(count));
  return quad;
}

inline void store(__m512i sum, const GemmEpilogue& e, std::int64_t column, __mmask16 mask, void* c, std::int64_t index) {
  const __m512i acc = _mm512_add_epi32(sum, _mm512_loadu_si512(e.offset + column));
  if (e.output == GemmOutput::kS32) {
    _mm512_mask_storeu_epi32(static_cast<std::int32_t*>(c) + index, mask, acc);
    return;
  }
  const __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(e.scale + column), _mm512_loadu_ps(e.bias + column));
  if (e.output == GemmOutput::kF32) {
    _mm512_mask_storeu_ps(static_cast<float*>(c) + index, mask, v);
    return;
  }
  const __m512 low = _mm512_set1_ps(static_cast<float>(e.low - e.zero_point));
  const __m512 high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  const __m512 clamped = _mm512_min_ps(_mm512_max_ps(v, low), high);
  const __m512i codes = _mm512_add_epi32(_mm512_cvtps_epi32(clamped), _mm512_set1_epi32(e.zero_point));
  _mm_mask_storeu_epi8(static_cast<std::uint8_t*>(c) + index, mask, _mm512_cvtepi32_epi8(codes));
}

template <int kM, int kV, bool kFlip>
void tile(const std::uint8_t* a, std::int64_t lda, const PackedS8& b, std::int64_t panel, const GemmEpilogue& e, void* c,
          std::int64_t ldc) {
  __m512i acc[kM][kV];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kV; ++j) acc[i][j] = _mm512_setzero_si512();
  }
  const std::int8_t* w = b.panel(panel);
  const std::int64_t stride = b.k4() * kPanelColumns * 4;
  const __m512i flip = _mm512_set1_epi32(static_cast<int>(0x80808080u));
  const std::int64_t whole = b.k / 4;
  const auto step = [&](auto load) __attribute__((always_inline)) {
    __m512i columns[kV];
#pragma GCC unroll 4
    for (int j = 0; j < kV; ++j) columns[j] = _mm512_load_si512(w + j * stride);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      __m512i row = _mm512_set1_epi32(load(a + i * lda));
      if (kFlip) row = _mm512_xor_si512(row, flip);
#pragma GCC unroll 4
      for (int j = 0; j < kV; ++j) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], row, columns[j]);
    }
    w += kPanelColumns * 4;
  };
  for (std::int64_t q = 0; q < whole; ++q) {
    step(load_quad);
    a += 4;
  }
  if (const std::int64_t rest = b.k % 4; rest != 0) step([rest](const std::uint8_t* p) { return load_partial(p, rest); });

#pragma GCC unroll 4
  for (int j = 0; j < kV; ++j) {
    const std::int64_t column = (panel + j) * kPanelColumns;
    const std::int64_t left = b.n - column;
    const __mmask16 mask = static_cast<__mmask16>(left >= kPanelColumns ? 0xFFFF : (1u << left) - 1);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) store(acc[i][j], e, column, mask, c, i * ldc + column);
  }
}

using Tile = void (*)(const std::uint8_t*, std::int64_t, const PackedS8&, std::int64_t, const GemmEpilogue&, void*, std::int64_t);

template <int kV, bool kFlip, int... kM>
constexpr std::array<Tile, 14> tiles(std::integer_sequence<int, kM...>) {
  return {tile<kM + 1, kV, kFlip>...};
}

template <bool kFlip>
constexpr std::array<std::array<Tile, 14>, kMaxVectors> kTiles = {
    tiles<1, kFlip>(std::make_integer_sequence<int, kRows[1]>()), tiles<2, kFlip>(std::make_integer_sequence<int, kRows[2]>()),
    tiles<3, kFlip>(std::make_integer_sequence<int, kRows[3]>()), tiles<4, kFlip>(std::make_integer_sequence<int, kRows[4]>())};

}  // namespace

void gemm_s8_avx512vnni(const std::uint8_t* a, std::int64_t lda, bool flip, std::int64_t m, const PackedS8& b,
                        std::int64_t first_panel, std::int64_t last_panel, const GemmEpilogue& epilogue, void* c,
                        std::int64_t ldc) {
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t p = first_panel; p < last_panel;) {
    const int vectors = static_cast<int>(last_panel - p < kMaxVectors ? last_panel - p : kMaxVectors);
    const auto& row = flip ? kTiles<true>[vectors - 1] : kTiles<false>[vectors - 1];
    // Rows in even tiles rather than full ones and a small rest.
    const std::int64_t blocks = (m + kRows[vectors] - 1) / kRows[vectors];
    for (std::int64_t block = 0, i = 0; block < blocks; ++block) {
      const std::int64_t rows = (m - i + blocks - block - 1) / (blocks - block);
      row[rows - 1](a + i * lda, lda, b, p, epilogue, static_cast<char*>(c) + i * ldc * width, ldc);
      i += rows;
    }
    p += vectors;
  }
}

}  // namespace narrow::kernels
