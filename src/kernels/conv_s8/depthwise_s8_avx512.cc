// 32 channels a step: two taps interleaved as s16 pairs, one vpmaddwd for both.
#include <immintrin.h>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

inline void store(__m512i sum, const GemmEpilogue& e, std::int64_t column, __mmask16 mask, void* y) {
  const __m512i acc = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, e.offset + column));
  if (e.output == GemmOutput::kS32) {
    _mm512_mask_storeu_epi32(static_cast<std::int32_t*>(y) + column, mask, acc);
    return;
  }
  const __m512 v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_maskz_loadu_ps(mask, e.scale + column),
                                   _mm512_maskz_loadu_ps(mask, e.bias + column));
  if (e.output == GemmOutput::kF32) {
    _mm512_mask_storeu_ps(static_cast<float*>(y) + column, mask, v);
    return;
  }
  const __m512 low = _mm512_set1_ps(static_cast<float>(e.low - e.zero_point));
  const __m512 high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  const __m512i codes = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(v, low), high)), _mm512_set1_epi32(e.zero_point));
  _mm_mask_storeu_epi8(static_cast<std::uint8_t*>(y) + column, mask, _mm512_cvtepi32_epi8(codes));
}

inline __mmask32 first32(std::int64_t n) { return n >= 32 ? 0xFFFFFFFFu : (1u << n) - 1; }
inline __mmask16 first16(std::int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1u << n) - 1); }

void depthwise(const DepthwiseInput& in, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  const __m256i mask_sign = _mm256_set1_epi8(in.flip ? static_cast<char>(0x80) : 0);
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t stride = (in.channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  for (std::int64_t i = 0; i < in.pixels; ++i) {
    void* out = static_cast<char*>(y) + i * in.channels * width;
    for (std::int64_t c = 0; c < in.channels; c += 32) {
      const std::uint8_t* from = in.rows[i] + c;
      const __mmask32 mask = first32(in.channels - c);
      __m512i low = _mm512_setzero_si512(), high = low;
      for (std::int64_t t = 0; t < in.taps; t += 2) {
        const bool pair = t + 1 < in.taps;
        const __m512i x0 = _mm512_cvtepu8_epi16(_mm256_xor_si256(_mm256_maskz_loadu_epi8(mask, from + in.offsets[t]), mask_sign));
        const __m512i w0 = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, w + t * stride + c));
        __m512i x1 = _mm512_setzero_si512(), w1 = x1;
        if (pair) {
          x1 = _mm512_cvtepu8_epi16(_mm256_xor_si256(_mm256_maskz_loadu_epi8(mask, from + in.offsets[t + 1]), mask_sign));
          w1 = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, w + (t + 1) * stride + c));
        }
        low = _mm512_add_epi32(low, _mm512_madd_epi16(_mm512_unpacklo_epi16(x0, x1), _mm512_unpacklo_epi16(w0, w1)));
        high = _mm512_add_epi32(high, _mm512_madd_epi16(_mm512_unpackhi_epi16(x0, x1), _mm512_unpackhi_epi16(w0, w1)));
      }
      // unpacking works within 128-bit lanes: low holds channels 0-3 8-11 16-19 24-27, high the others.
      const __m512i first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
      const __m512i second = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
      store(first, epilogue, c, first16(in.channels - c), out);
      if (in.channels - c > 16) store(second, epilogue, c + 16, first16(in.channels - c - 16), out);
    }
  }
}

}  // namespace

const DepthwiseS8 kDepthwiseS8Avx512 = {"depthwise_s8 avx512", pack_depthwise_rows, depthwise};

}  // namespace narrow::kernels
