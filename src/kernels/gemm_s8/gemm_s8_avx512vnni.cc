// Register tiles of up to 4 panels (64 columns): vpdpbusd sums four products a lane, exactly.
#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
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

// The last `count` (1 to 3) bytes of a run.
inline std::int32_t load_rest(const std::uint8_t* p, std::int64_t count) {
  std::int32_t quad = p[0];
  if (count > 1) quad |= p[1] << 8;
  if (count > 2) quad |= p[2] << 16;
  return quad;
}

// Four vectors of 16 rounded values: 64 codes in order, a quarter each. Values beyond s16 saturate before they are clamped.
inline __m512i to_codes(__m512i v0, __m512i v1, __m512i v2, __m512i v3, const GemmEpilogue& e) {
  const __m512i zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(v0, v1), zero_point);
  const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(v2, v3), zero_point);
  const __m512i low = _mm512_set1_epi8(static_cast<char>(e.low)), high = _mm512_set1_epi8(static_cast<char>(e.high));
  __m512i codes;
  if (e.output == GemmOutput::kU8) codes = _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(first, second), low), high);
  else codes = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), low), high);
  // Packing works within 128-bit lanes.
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
}

inline __mmask16 first16(std::int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1u << n) - 1); }

// f(0), f(1), … with constant arguments: an array of registers that any loop indexes would be kept in memory.
template <int kCount, typename F>
inline __attribute__((always_inline)) void repeat(F&& f) {
  [&]<int... kI>(std::integer_sequence<int, kI...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, kI>{}), ...);
  }(std::make_integer_sequence<int, kCount>{});
}

// The sums (offset included) of kM rows, `left` columns of them real.
template <int kM, int kV>
inline __attribute__((always_inline)) void store(__m512i (&acc)[kM][kV], const GemmEpilogue& e, std::int64_t column, std::int64_t left, void* c,
                                                 std::int64_t ldc) {
  if (e.output == GemmOutput::kS32 || e.output == GemmOutput::kF32) {
    const bool integers = e.output == GemmOutput::kS32;
    repeat<kV>([&](auto j) __attribute__((always_inline)) {
      const __mmask16 mask = first16(left - j * 16);
      const __m512 scale = integers ? _mm512_setzero_ps() : _mm512_loadu_ps(e.scale + column + j * 16);
      const __m512 bias = integers ? _mm512_setzero_ps() : _mm512_loadu_ps(e.bias + column + j * 16);
      repeat<kM>([&](auto i) __attribute__((always_inline)) {
        auto* to = static_cast<float*>(c) + i * ldc + column + j * 16;
        const __m512 value = integers ? _mm512_castsi512_ps(acc[i][j]) : _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][j]), scale, bias);
        if (mask == 0xFFFF) _mm512_storeu_ps(to, value);
        else _mm512_mask_storeu_ps(to, mask, value);
      });
    });
    return;
  }
  // Rounded in place, a column's scale and bias loaded once. What exceeds s32 is cut off first; what lies below it (NaN
  // too) becomes the smallest s32.
  const __m512 limit = _mm512_set1_ps(30000.0f);
  repeat<kV>([&](auto j) __attribute__((always_inline)) {
    const __m512 scale = _mm512_loadu_ps(e.scale + column + j * 16), bias = _mm512_loadu_ps(e.bias + column + j * 16);
    repeat<kM>([&](auto i) __attribute__((always_inline)) {
      acc[i][j] = _mm512_cvtps_epi32(_mm512_min_ps(limit, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][j]), scale, bias)));
    });
  });
  auto* out = static_cast<std::uint8_t*>(c) + column;
  constexpr int kTogether = kV == 1 ? 4 : kV == 2 ? 2 : 1;  // rows whose codes fill one register
  repeat<(kM + kTogether - 1) / kTogether>([&](auto step) __attribute__((always_inline)) {
    constexpr int i = decltype(step)::value * kTogether;
    const auto vector = [&](auto q) __attribute__((always_inline)) {  // of row i + q / kV; zeros where there is none
      constexpr int row = i + decltype(q)::value / kV;
      if constexpr ((kV == 3 && decltype(q)::value == 3) || row >= kM) return _mm512_setzero_si512();
      else return acc[row][decltype(q)::value % kV];
    };
    const __m512i codes = to_codes(vector(std::integral_constant<int, 0>{}), vector(std::integral_constant<int, 1>{}),
                                   vector(std::integral_constant<int, 2>{}), vector(std::integral_constant<int, 3>{}), e);
    if constexpr (kV >= 3) {
      if (kV == 4 && left >= 64) _mm512_storeu_si512(out + i * ldc, codes);
      else _mm512_mask_storeu_epi8(out + i * ldc, (__mmask64{1} << (left < kV * 16 ? left : kV * 16 % 64)) - 1, codes);
    } else if constexpr (kV == 2) {
      const __m256i half[2] = {_mm512_castsi512_si256(codes), _mm512_extracti64x4_epi64(codes, 1)};
      for (int r = 0; r < 2 && i + r < kM; ++r) {
        if (left >= 32) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (i + r) * ldc), half[r]);
        else _mm256_mask_storeu_epi8(out + (i + r) * ldc, (1u << left) - 1, half[r]);
      }
    } else {
      const __m128i quarter[4] = {_mm512_castsi512_si128(codes), _mm512_extracti32x4_epi32(codes, 1), _mm512_extracti32x4_epi32(codes, 2),
                                  _mm512_extracti32x4_epi32(codes, 3)};
      for (int r = 0; r < 4 && i + r < kM; ++r) {
        if (left >= 16) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + (i + r) * ldc), quarter[r]);
        else _mm_mask_storeu_epi8(out + (i + r) * ldc, first16(left), quarter[r]);
      }
    }
  });
}

template <int kM, int kV, bool kFlip>
void tile(const LeftS8& a, std::int64_t first_row, const PackedS8& b, const std::int8_t* w, std::int64_t column, const GemmEpilogue& e,
          void* c, std::int64_t ldc) {
  __m512i acc[kM][kV];
#pragma GCC unroll 4
  for (int j = 0; j < kV; ++j) {
    const __m512i offset = _mm512_loadu_si512(e.offset + column + j * 16);
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) acc[i][j] = offset;
    if (e.row != nullptr) {
      const __m512i factors = _mm512_loadu_si512(e.column + column + j * 16);
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) acc[i][j] = _mm512_add_epi32(offset, _mm512_mullo_epi32(factors, _mm512_set1_epi32(e.row[first_row + i])));
    }
  }
  const __m512i flip = _mm512_set1_epi32(static_cast<int>(0x80808080u));
  const std::int64_t length = b.run_length(), rest = length % 4;
  const std::int64_t whole = rest != 0 && a.slack ? length / 4 + 1 : length / 4;
  for (std::int64_t run = 0; run < b.runs; ++run) {
    const std::int64_t begin = a.offsets == nullptr ? 0 : a.offsets[run];
    const std::uint8_t* from[kM];
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) from[i] = a.row(first_row + i) + begin;
    const auto step = [&](auto load) __attribute__((always_inline)) {
      __m512i columns[kV];
#pragma GCC unroll 4
      for (int j = 0; j < kV; ++j) columns[j] = _mm512_load_si512(w + j * 64);
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) {
        __m512i row = _mm512_set1_epi32(load(from[i]));
        if (kFlip) row = _mm512_xor_si512(row, flip);
#pragma GCC unroll 4
        for (int j = 0; j < kV; ++j) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], row, columns[j]);
      }
      w += kV * 64;
    };
    for (std::int64_t q = 0; q < whole; ++q) step([q](const std::uint8_t* p) __attribute__((always_inline)) { return load_quad(p + q * 4); });
    if (rest != 0 && !a.slack) step([&](const std::uint8_t* p) __attribute__((always_inline)) { return load_rest(p + whole * 4, rest); });
  }
  store<kM, kV>(acc, e, column, b.n - column, c, ldc);
}

using Tile = void (*)(const LeftS8&, std::int64_t, const PackedS8&, const std::int8_t*, std::int64_t, const GemmEpilogue&, void*, std::int64_t);

template <int kV, bool kFlip, int... kM>
constexpr std::array<Tile, 14> tiles(std::integer_sequence<int, kM...>) {
  return {tile<kM + 1, kV, kFlip>...};
}

template <bool kFlip>
constexpr std::array<std::array<Tile, 14>, kMaxVectors> kTiles = {
    tiles<1, kFlip>(std::make_integer_sequence<int, kRows[1]>()), tiles<2, kFlip>(std::make_integer_sequence<int, kRows[2]>()),
    tiles<3, kFlip>(std::make_integer_sequence<int, kRows[3]>()), tiles<4, kFlip>(std::make_integer_sequence<int, kRows[4]>())};

}  // namespace

void gemm_s8_avx512vnni(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last,
                        const GemmEpilogue& epilogue, void* c, std::int64_t ldc) {
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t column = b.first_panel(s) * kPanelColumns;
    const int vectors = static_cast<int>(b.first_panel(s + 1) - b.first_panel(s));
    const auto& row = a.flip ? kTiles<true>[vectors - 1] : kTiles<false>[vectors - 1];
    // Rows in even tiles rather than full ones and a small rest.
    const std::int64_t blocks = (m + kRows[vectors] - 1) / kRows[vectors];
    for (std::int64_t block = 0, i = 0; block < blocks; ++block) {
      const std::int64_t rows = (m - i + blocks - block - 1) / (blocks - block);
      row[rows - 1](a, i, b, b.strip(s), column, epilogue, static_cast<char*>(c) + i * ldc * width, ldc);
      i += rows;
    }
  }
}

}  // namespace narrow::kernels
