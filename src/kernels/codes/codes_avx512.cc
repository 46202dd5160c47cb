#include <immintrin.h>

#include "kernels/codes/codes.h"

namespace narrow::kernels {
namespace {

// A table of 256 bytes is no faster in shuffles here than in the first-level cache.
void look_up(const std::uint8_t* in, std::size_t n, const std::uint8_t* table, std::uint8_t* out) {
#pragma GCC unroll 8
  for (std::size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

template <bool kSigned>
void maximum(const std::uint8_t* const* rows, std::size_t count, std::size_t n, std::uint8_t* out) {
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    __m512i largest = _mm512_loadu_si512(rows[0] + i);
    for (std::size_t r = 1; r < count; ++r) {
      const __m512i x = _mm512_loadu_si512(rows[r] + i);
      largest = kSigned ? _mm512_max_epi8(largest, x) : _mm512_max_epu8(largest, x);
    }
    _mm512_storeu_si512(out + i, largest);
  }
  for (; i < n; ++i) {
    std::uint8_t largest = rows[0][i];
    for (std::size_t r = 1; r < count; ++r) {
      const bool more = kSigned ? static_cast<std::int8_t>(rows[r][i]) > static_cast<std::int8_t>(largest) : rows[r][i] > largest;
      if (more) largest = rows[r][i];
    }
    out[i] = largest;
  }
}

void maximum_of(const std::uint8_t* const* rows, std::size_t count, std::size_t n, bool is_signed, std::uint8_t* out) {
  if (is_signed) maximum<true>(rows, count, n, out);
  else maximum<false>(rows, count, n, out);
}

// 16 pixels at a time: each plane's bytes spread to every third place, the gaps filled by the other planes.
void interleave3(const std::uint8_t* const* planes, std::size_t n, std::uint8_t* out) {
  alignas(16) std::int8_t from[3][3][16];  // [part of the output][plane]
  for (int part = 0; part < 3; ++part) {
    for (int j = 0; j < 16; ++j) {
      const int at = part * 16 + j;
      for (int p = 0; p < 3; ++p) from[part][p][j] = static_cast<std::int8_t>(at % 3 == p ? at / 3 : -1);
    }
  }
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int part = 0; part < 3; ++part) {
      __m128i made = _mm_setzero_si128();
      for (int p = 0; p < 3; ++p) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(planes[p] + i));
        made = _mm_or_si128(made, _mm_shuffle_epi8(x, _mm_load_si128(reinterpret_cast<const __m128i*>(from[part][p]))));
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * i + part * 16), made);
    }
  }
  for (; i < n; ++i) {
    for (std::size_t p = 0; p < 3; ++p) out[3 * i + p] = planes[p][i];
  }
}

void add(const std::uint8_t* in, std::size_t n, bool is_signed, std::int32_t* sums) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    const __m512i x = is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
    _mm512_storeu_si512(sums + i, _mm512_add_epi32(_mm512_loadu_si512(sums + i), x));
  }
  for (; i < n; ++i) sums[i] += is_signed ? static_cast<std::int8_t>(in[i]) : in[i];
}

// Explicit rounding keeps product and sum apart: fused they would round once.
constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

inline __m512 real(const SumOperand& x, __m128i codes) {
  const __m512i wide = x.is_signed ? _mm512_cvtepi8_epi32(codes) : _mm512_cvtepu8_epi32(codes);
  return _mm512_mul_round_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide, _mm512_set1_epi32(x.zero_point))), _mm512_set1_ps(x.scale), kNearest);
}

void sum(const SumOperand& a, const SumOperand& b, std::size_t n, const SumResult& y, std::uint8_t* out) {
  const __m512 low = _mm512_set1_ps(y.low), high = _mm512_set1_ps(y.high), scale = _mm512_set1_ps(y.scale);
  const __m512 least = _mm512_set1_ps(static_cast<float>((y.is_signed ? -128 : 0) - y.zero_point));
  const __m512 most = _mm512_set1_ps(static_cast<float>((y.is_signed ? 127 : 255) - y.zero_point));
  const __m512i zero_point = _mm512_set1_epi32(y.zero_point);
  const auto rounded = [&](__m128i x, __m128i z) __attribute__((always_inline)) {
    __m512 v = _mm512_min_ps(_mm512_max_ps(_mm512_add_ps(real(a, x), real(b, z)), low), high);
    v = _mm512_div_ps(v, scale);
    v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
    return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, least), most)), zero_point);
  };
  std::size_t i = 0;
  const auto quarter = [&](const SumOperand& x, int q) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x.codes + i + q * 16)); };
  for (; i + 64 <= n; i += 64) {
    const auto part = [&](int q) __attribute__((always_inline)) { return rounded(quarter(a, q), quarter(b, q)); };
    const __m512i first = _mm512_packs_epi32(part(0), part(1)), second = _mm512_packs_epi32(part(2), part(3));
    const __m512i codes = y.is_signed ? _mm512_packs_epi16(first, second) : _mm512_packus_epi16(first, second);
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes));
  }
  for (; i < n; i += 16) {
    const auto mask = static_cast<__mmask16>(n - i >= 16 ? 0xFFFF : (1u << (n - i)) - 1);
    const __m512i codes = rounded(_mm_maskz_loadu_epi8(mask, a.codes + i), _mm_maskz_loadu_epi8(mask, b.codes + i));
    _mm_mask_storeu_epi8(out + i, mask, _mm512_cvtepi32_epi8(codes));
  }
}

}  // namespace

const CodeKernels kCodesAvx512 = {look_up, maximum_of, interleave3, sum, add};

}  // namespace narrow::kernels
