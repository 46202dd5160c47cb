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
  for (; i + 32 <= n; i += 32) {
    __m256i largest = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[0] + i));
    for (std::size_t r = 1; r < count; ++r) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + i));
      largest = kSigned ? _mm256_max_epi8(largest, x) : _mm256_max_epu8(largest, x);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), largest);
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
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + i));
    const __m256i x = is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i), _mm256_add_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i)), x));
  }
  for (; i < n; ++i) sums[i] += is_signed ? static_cast<std::int8_t>(in[i]) : in[i];
}

}  // namespace

const CodeKernels kCodesAvx2 = {look_up, maximum_of, interleave3, nullptr, add};

}  // namespace narrow::kernels
