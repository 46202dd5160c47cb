// Without VNNI: bytes widened to s16, vpmaddwd sums pairs in s32, so nothing saturates.
#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {
namespace {

inline std::int32_t load_quad(const std::uint8_t* p, std::int64_t count) {
  std::int32_t quad = 0;
  if (count >= 4) std::memcpy(&quad, p, 4);
  else std::memcpy(&quad, p, static_cast<std::size_t>(count));
  return quad;
}

// Eight finished sums of one row, columns [column, column + 8).
inline void store(__m256i sum, const GemmEpilogue& e, std::int64_t column, std::int64_t left, void* c, std::int64_t index) {
  const __m256i acc = _mm256_add_epi32(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.offset + column)));
  alignas(32) char staged[32];
  std::size_t width = 4;
  if (e.output == GemmOutput::kS32) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(staged), acc);
  } else {
    const __m256 v = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(e.scale + column), _mm256_loadu_ps(e.bias + column));
    if (e.output == GemmOutput::kF32) {
      _mm256_store_ps(reinterpret_cast<float*>(staged), v);
    } else {
      const __m256 low = _mm256_set1_ps(static_cast<float>(e.low - e.zero_point));
      const __m256 high = _mm256_set1_ps(static_cast<float>(e.high - e.zero_point));
      const __m256 clamped = _mm256_min_ps(_mm256_max_ps(v, low), high);
      const __m256i codes = _mm256_add_epi32(_mm256_cvtps_epi32(clamped), _mm256_set1_epi32(e.zero_point));
      // The low byte of each lane, gathered.
      const __m256i pick = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1,
                                            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
      const __m256i bytes = _mm256_shuffle_epi8(codes, pick);
      const __m128i eight = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(staged), eight);
      width = 1;
    }
  }
  const std::size_t count = static_cast<std::size_t>(left < 8 ? left : 8);
  std::memcpy(static_cast<char*>(c) + static_cast<std::size_t>(index) * width, staged, count * width);
}

// kM rows by one panel. An accumulator holds two partial sums for each of four columns.
template <int kM>
void tile(const LeftS8& a, std::int64_t first_row, const PackedS8& b, const std::int8_t* w, std::int64_t step, std::int64_t column,
          const GemmEpilogue& e, void* c, std::int64_t ldc) {
  __m256i acc[kM][4];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < 4; ++j) acc[i][j] = _mm256_setzero_si256();
  }
  const std::int32_t mask = a.flip ? static_cast<std::int32_t>(0x80808080u) : 0;
  const std::int64_t length = b.run_length();
  for (std::int64_t run = 0; run < b.runs; ++run) {
    const std::uint8_t* from[kM];
    for (int i = 0; i < kM; ++i) from[i] = a.row(first_row + i) + (a.offsets == nullptr ? 0 : a.offsets[run]);
    for (std::int64_t k = 0; k < length; k += 4, w += step) {
      __m256i columns[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        columns[j] = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + j * 16)));
      }
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const std::int32_t quad = load_quad(from[i] + k, length - k) ^ mask;
        const __m256i row = _mm256_cvtepu8_epi16(_mm_set1_epi32(quad));
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(row, columns[j]));
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int half = 0; half < 2; ++half) {
      const std::int64_t left = b.n - column - half * 8;
      if (left <= 0) break;
      // hadd leaves columns 0 1 4 5 2 3 6 7 in lanes of 64 bits; the permutation puts them in order.
      const __m256i pairs = _mm256_hadd_epi32(acc[i][half * 2], acc[i][half * 2 + 1]);
      __m256i sums = _mm256_permute4x64_epi64(pairs, 0xD8);
      if (e.row != nullptr) {
        const __m256i factors = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.column + column + half * 8));
        sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(factors, _mm256_set1_epi32(e.row[first_row + i])));
      }
      store(sums, e, column + half * 8, left, c, i * ldc + column + half * 8);
    }
  }
}

}  // namespace

void gemm_s8_avx2(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last,
                  const GemmEpilogue& epilogue, void* c, std::int64_t ldc) {
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t begin = b.first_panel(s), step = (b.first_panel(s + 1) - begin) * kPanelColumns * 4;
    for (std::int64_t p = begin; p < b.first_panel(s + 1); ++p) {
      const std::int8_t* w = b.strip(s) + (p - begin) * kPanelColumns * 4;
      std::int64_t i = 0;
      for (; i + 2 <= m; i += 2) {
        tile<2>(a, i, b, w, step, p * kPanelColumns, epilogue, static_cast<char*>(c) + i * ldc * width, ldc);
      }
      if (i < m) tile<1>(a, i, b, w, step, p * kPanelColumns, epilogue, static_cast<char*>(c) + i * ldc * width, ldc);
    }
  }
}

}  // namespace narrow::kernels
