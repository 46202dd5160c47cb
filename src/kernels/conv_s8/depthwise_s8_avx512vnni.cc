// 64 channels and four taps at a time: the codes of a channel are brought together in 32 bits, vpdpbusd sums them.
#include <immintrin.h>

#include <cstring>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

// Interleaving works within 128-bit lanes: vector q of a chunk holds channels 16 * lane + 4 * q + {0, 1, 2, 3}.
constexpr std::int64_t kChunk = 64;

// Channels behind the last whole chunk, when they are 16 or 32: a chunk then holds them of several pixels.
inline std::int64_t repeated(std::int64_t channels) { return channels % kChunk == 16 || channels % kChunk == 32 ? kChunk / (channels % kChunk) : 1; }

// [chunk][four taps][q][lane][channel of the lane][tap], zeros where channels or taps are padded.
std::vector<std::int8_t> pack(const std::int8_t* w, std::int64_t channels, std::int64_t taps) {
  const std::int64_t fours = (taps + 3) / 4, chunks = (channels + kChunk - 1) / kChunk;
  std::vector<std::int8_t> packed(static_cast<std::size_t>(chunks * fours * kChunk * 4), 0);
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::int64_t copies = c / kChunk * kChunk + kChunk > channels ? repeated(channels) : 1;
    for (std::int64_t copy = 0; copy < copies; ++copy) {
      const std::int64_t in_chunk = c % kChunk + copy * (kChunk / copies), lane = in_chunk / 16, q = in_chunk % 16 / 4;
      for (std::int64_t t = 0; t < taps; ++t) {
        packed[((c / kChunk * fours + t / 4) * 4 + q) * 64 + (lane * 4 + c % 4) * 4 + t % 4] = w[c * taps + t];
      }
    }
  }
  return packed;
}

inline __mmask64 first64(std::int64_t n) { return n >= 64 ? ~__mmask64{0} : n <= 0 ? 0 : (__mmask64{1} << n) - 1; }
inline __mmask16 first16(std::int64_t n) { return static_cast<__mmask16>(first64(n)); }

// 64 values in channel order <-> the order of the four vectors (its own inverse: a transposition of 128-bit lanes).
inline void transpose_lanes(__m512i* v) {
  const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xEE);
  const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
  v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  v[1] = _mm512_shuffle_i32x4(a, c, 0xDD);
  v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  v[3] = _mm512_shuffle_i32x4(b, d, 0xDD);
}

// The values of a chunk's columns in the vectors' order. kPixels > 1: those of 64 / kPixels columns, repeated.
template <int kPixels>
inline void load_turned(const void* values, std::int64_t column, std::int64_t left, __m512i* v) {
  constexpr int kVectors = 4 / kPixels;
  for (int q = 0; q < 4; ++q) {
    const auto* from = static_cast<const std::int32_t*>(values) + column + q % kVectors * 16;
    v[q] = kPixels > 1 || left > q * 16 ? _mm512_loadu_si512(from) : _mm512_setzero_si512();
  }
  transpose_lanes(v);
}

// What a step reads at one tap: 64 channels of a pixel, fewer (kTail), or 64 / kPixels channels of kPixels pixels.
enum class Reach { kWhole, kTail, kPixels2, kPixels4 };

template <Reach kReach, bool kFlip>
void chunk(const DepthwiseInput& in, std::int64_t c, const std::int8_t* w, const GemmEpilogue& e, void* y) {
  constexpr int kPixels = kReach == Reach::kPixels4 ? 4 : kReach == Reach::kPixels2 ? 2 : 1;
  constexpr std::int64_t kColumns = kChunk / kPixels;
  const std::int64_t left = in.channels - c, taps = in.taps;
  const __mmask64 mask = first64(left);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const bool codes_out = e.output == GemmOutput::kU8 || e.output == GemmOutput::kS8;
  __m512i offset[4], scale[4] = {}, bias[4] = {};
  load_turned<kPixels>(e.offset, c, left, offset);
  if (e.output != GemmOutput::kS32) {
    load_turned<kPixels>(e.scale, c, left, scale);
    load_turned<kPixels>(e.bias, c, left, bias);
  }
  const __m512 limit = _mm512_set1_ps(30000.0f);
  const __m512i zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  const __m512i low = _mm512_set1_epi8(static_cast<char>(e.low)), high = _mm512_set1_epi8(static_cast<char>(e.high));
  for (std::int64_t i = 0; i < in.pixels; i += kPixels) {
    const std::uint8_t* from[kPixels];  // the last step repeats its last pixel
    for (int p = 0; p < kPixels; ++p) from[p] = in.rows[i + p < in.pixels ? i + p : in.pixels - 1] + c;
    bool adjacent = kPixels > 1;
    for (int p = 1; p < kPixels; ++p) adjacent = adjacent && from[p] - from[p - 1] == kColumns;
    const auto load = [&](std::int64_t t) __attribute__((always_inline)) {
      const std::int64_t at = in.offsets[t];
      __m512i x;
      if constexpr (kReach == Reach::kTail) {
        x = _mm512_maskz_loadu_epi8(mask, from[0] + at);
      } else if constexpr (kReach == Reach::kPixels2) {
        const auto half = [&](int p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[p] + at)); };
        x = adjacent ? _mm512_loadu_si512(from[0] + at) : _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
      } else if constexpr (kReach == Reach::kPixels4) {
        if (adjacent) {
          x = _mm512_loadu_si512(from[0] + at);
        } else {
          const auto quarter = [&](int p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[p] + at)); };
          const __m256i lower = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(0)), quarter(1), 1);
          const __m256i upper = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter(2)), quarter(3), 1);
          x = _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
        }
      } else {
        x = _mm512_loadu_si512(from[0] + at);
      }
      return kFlip ? _mm512_xor_si512(x, sign) : x;
    };
    __m512i acc[4] = {offset[0], offset[1], offset[2], offset[3]};
    const std::int8_t* quads = w;
    const auto sum = [&](__m512i x01l, __m512i x01h, __m512i x23l, __m512i x23h) __attribute__((always_inline)) {
      acc[0] = _mm512_dpbusd_epi32(acc[0], _mm512_unpacklo_epi16(x01l, x23l), _mm512_loadu_si512(quads));
      acc[1] = _mm512_dpbusd_epi32(acc[1], _mm512_unpackhi_epi16(x01l, x23l), _mm512_loadu_si512(quads + 64));
      acc[2] = _mm512_dpbusd_epi32(acc[2], _mm512_unpacklo_epi16(x01h, x23h), _mm512_loadu_si512(quads + 128));
      acc[3] = _mm512_dpbusd_epi32(acc[3], _mm512_unpackhi_epi16(x01h, x23h), _mm512_loadu_si512(quads + 192));
      quads += 256;
    };
    const __m512i none = _mm512_setzero_si512();
    std::int64_t t = 0;
    for (; t + 4 <= taps; t += 4) {
      const __m512i x0 = load(t), x1 = load(t + 1), x2 = load(t + 2), x3 = load(t + 3);
      sum(_mm512_unpacklo_epi8(x0, x1), _mm512_unpackhi_epi8(x0, x1), _mm512_unpacklo_epi8(x2, x3), _mm512_unpackhi_epi8(x2, x3));
    }
    if (taps - t == 1) {
      const __m512i x0 = load(t);
      sum(_mm512_unpacklo_epi8(x0, none), _mm512_unpackhi_epi8(x0, none), none, none);
    } else if (t < taps) {
      const __m512i x0 = load(t), x1 = load(t + 1), x2 = t + 2 < taps ? load(t + 2) : none;
      sum(_mm512_unpacklo_epi8(x0, x1), _mm512_unpackhi_epi8(x0, x1), _mm512_unpacklo_epi8(x2, none), _mm512_unpackhi_epi8(x2, none));
    }
    if (codes_out) {
      __m512i r[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[q]), _mm512_castsi512_ps(scale[q]), _mm512_castsi512_ps(bias[q]));
        r[q] = _mm512_cvtps_epi32(_mm512_min_ps(limit, v));
      }
      // Packing undoes the interleaving: the codes come out in channel order.
      const __m512i first = _mm512_adds_epi16(_mm512_packs_epi32(r[0], r[1]), zero_point);
      const __m512i second = _mm512_adds_epi16(_mm512_packs_epi32(r[2], r[3]), zero_point);
      const __m512i codes = e.output == GemmOutput::kU8 ? _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(first, second), low), high)
                                                        : _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), low), high);
      auto* to = static_cast<std::uint8_t*>(y) + i * in.channels + c;
      if (kReach == Reach::kWhole || (kPixels > 1 && in.channels == kColumns && i + kPixels <= in.pixels)) {
        _mm512_storeu_si512(to, codes);
      } else if (kReach == Reach::kTail) {
        _mm512_mask_storeu_epi8(to, mask, codes);
      } else {
        alignas(64) std::uint8_t staged[kChunk];
        _mm512_store_si512(staged, codes);
        for (int p = 0; p < kPixels && i + p < in.pixels; ++p) std::memcpy(to + p * in.channels, staged + p * kColumns, kColumns);
      }
      continue;
    }
    if (e.output == GemmOutput::kF32) {
      for (int q = 0; q < 4; ++q) {
        acc[q] = _mm512_castps_si512(_mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[q]), _mm512_castsi512_ps(scale[q]), _mm512_castsi512_ps(bias[q])));
      }
    }
    transpose_lanes(acc);
    for (int q = 0; q < 4; ++q) {
      const int p = q * 16 / static_cast<int>(kColumns), column = q * 16 % static_cast<int>(kColumns);
      if (i + p >= in.pixels) break;
      auto* to = static_cast<std::int32_t*>(y) + (i + p) * in.channels + c + column;
      _mm512_mask_storeu_epi32(to, kPixels > 1 ? 0xFFFF : first16(left - column), acc[q]);
    }
  }
}

template <bool kFlip>
void channels(const DepthwiseInput& in, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  const std::int64_t per_chunk = (in.taps + 3) / 4 * kChunk * 4;
  for (std::int64_t c = 0; c < in.channels; c += kChunk, w += per_chunk) {
    const std::int64_t left = in.channels - c;
    if (left >= kChunk) chunk<Reach::kWhole, kFlip>(in, c, w, epilogue, y);
    else if (left == 32) chunk<Reach::kPixels2, kFlip>(in, c, w, epilogue, y);
    else if (left == 16) chunk<Reach::kPixels4, kFlip>(in, c, w, epilogue, y);
    else chunk<Reach::kTail, kFlip>(in, c, w, epilogue, y);
  }
}

void depthwise(const DepthwiseInput& in, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  if (in.flip) channels<true>(in, w, epilogue, y);
  else channels<false>(in, w, epilogue, y);
}

}  // namespace

const DepthwiseS8 kDepthwiseS8Avx512Vnni = {"depthwise_s8 avx512vnni", pack, depthwise};

}  // namespace narrow::kernels
