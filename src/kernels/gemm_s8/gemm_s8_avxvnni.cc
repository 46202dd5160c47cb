// VNNI on 256 bits, for processors without AVX-512: vpdpbusd adds four products of u8 and s8 to an s32 without saturation.
#include <immintrin.h>

#include <cstring>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {
namespace {

inline std::int32_t quad_at(const std::uint8_t* p, std::int64_t count) {
  std::int32_t quad = 0;
  std::memcpy(&quad, p, static_cast<std::size_t>(count < 4 ? count : 4));
  return quad;
}

inline __m256i dot(__m256i sums, __m256i codes, __m256i weights) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sums, codes, weights);
#else
  return _mm256_dpbusd_epi32(sums, codes, weights);
#endif
}

// kM rows by one panel, column vectors of eight.
template <int kM>
void panel_rows(const LeftS8& a, std::int64_t first_row, const PackedS8& b, const std::int8_t* w, std::int64_t step, std::int64_t column,
                const GemmEpilogue& e, char* c, std::int64_t ldc) {
  __m256i acc[kM][2];
  for (int i = 0; i < kM; ++i) acc[i][0] = acc[i][1] = _mm256_setzero_si256();
  const std::int32_t mask = a.flip ? static_cast<std::int32_t>(0x80808080u) : 0;
  const std::int64_t length = b.run_length();
  for (std::int64_t run = 0; run < b.runs; ++run) {
    const std::uint8_t* from[kM];
    for (int i = 0; i < kM; ++i) from[i] = a.row(first_row + i) + (a.offsets == nullptr ? 0 : a.offsets[run]);
    for (std::int64_t k = 0; k < length; k += 4, w += step) {
      const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(w)), right = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32));
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        const __m256i codes = _mm256_set1_epi32(quad_at(from[i] + k, length - k) ^ mask);
        acc[i][0] = dot(acc[i][0], codes, left);
        acc[i][1] = dot(acc[i][1], codes, right);
      }
    }
  }
  const std::int64_t width = e.output == GemmOutput::kS32 || e.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t columns = b.n - column < kPanelColumns ? b.n - column : kPanelColumns;
  GemmEpilogue shifted = e;
  shifted.offset += column;
  if (shifted.scale != nullptr) shifted.scale += column;
  if (shifted.bias != nullptr) shifted.bias += column;
  for (int i = 0; i < kM; ++i) {
    for (int half = 0; half < 2 && e.row != nullptr; ++half) {
      const __m256i factors = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.column + column + half * 8));
      acc[i][half] = _mm256_add_epi32(acc[i][half], _mm256_mullo_epi32(factors, _mm256_set1_epi32(e.row[first_row + i])));
    }
    alignas(32) std::int32_t sums[kPanelColumns];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), acc[i][0]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), acc[i][1]);
    apply_epilogue(sums, columns, shifted, c + (i * ldc + column) * width);
  }
}

}  // namespace

void gemm_s8_avxvnni(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last, const GemmEpilogue& epilogue,
                     void* c, std::int64_t ldc) {
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t begin = b.first_panel(s), step = (b.first_panel(s + 1) - begin) * kPanelColumns * 4;
    for (std::int64_t p = begin; p < b.first_panel(s + 1); ++p) {
      const std::int8_t* w = b.strip(s) + (p - begin) * kPanelColumns * 4;
      const std::int64_t column = p * kPanelColumns;
      char* out = static_cast<char*>(c);
      std::int64_t i = 0;
      for (; i + 6 <= m; i += 6) panel_rows<6>(a, i, b, w, step, column, epilogue, out + i * ldc * width, ldc);
      for (; i + 2 <= m; i += 2) panel_rows<2>(a, i, b, w, step, column, epilogue, out + i * ldc * width, ldc);
      if (i < m) panel_rows<1>(a, i, b, w, step, column, epilogue, out + i * ldc * width, ldc);
    }
  }
}

}  // namespace narrow::kernels
