// Sums of 16 channels at a time in s32; the epilogue is the reference's, whose fma gives the same bits.
#include <immintrin.h>

#include <cstring>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {

void depthwise_s8_avx2(const std::uint8_t* const* x, std::int64_t taps, bool flip, const std::int8_t* w, std::int64_t stride,
                       std::int64_t channels, const GemmEpilogue& epilogue, void* y) {
  const __m128i sign = _mm_set1_epi8(flip ? static_cast<char>(0x80) : 0);
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t c = 0; c < channels; c += kPanelColumns) {
    const std::int64_t count = channels - c < kPanelColumns ? channels - c : kPanelColumns;
    __m256i low = _mm256_setzero_si256(), high = low;
    for (std::int64_t t = 0; t < taps; ++t) {
      __m128i bytes = _mm_setzero_si128();
      if (count == kPanelColumns) bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x[t] + c));
      else std::memcpy(&bytes, x[t] + c, static_cast<std::size_t>(count));
      const __m256i codes = _mm256_cvtepu8_epi16(_mm_xor_si128(bytes, sign));
      const __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w + t * stride + c)));
      const __m256i products = _mm256_mullo_epi16(codes, weights);  // 255 * -128 still fits s16
      low = _mm256_add_epi32(low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(products)));
      high = _mm256_add_epi32(high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(products, 1)));
    }
    alignas(32) std::int32_t sums[kPanelColumns];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8), high);
    GemmEpilogue shifted = epilogue;
    shifted.offset += c;
    if (shifted.scale != nullptr) shifted.scale += c;
    if (shifted.bias != nullptr) shifted.bias += c;
    apply_epilogue(sums, count, shifted, static_cast<char*>(y) + c * width);
  }
}

}  // namespace narrow::kernels
