// Sums of 16 channels at a time in s32; the epilogue is the reference's, whose fma gives the same bits.
#include <immintrin.h>

#include <cstring>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

void depthwise(const DepthwiseInput& x, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  const __m128i sign = _mm_set1_epi8(x.flip ? static_cast<char>(0x80) : 0);
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t stride = (x.channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  for (std::int64_t i = 0; i < x.pixels; ++i) {
    for (std::int64_t c = 0; c < x.channels; c += kPanelColumns) {
      const std::int64_t count = x.channels - c < kPanelColumns ? x.channels - c : kPanelColumns;
      __m256i low = _mm256_setzero_si256(), high = low;
      for (std::int64_t t = 0; t < x.taps; ++t) {
        const std::uint8_t* from = x.rows[i] + x.offsets[t] + c;
        __m128i bytes = _mm_setzero_si128();
        if (count == kPanelColumns) bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
        else std::memcpy(&bytes, from, static_cast<std::size_t>(count));
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
      apply_epilogue(sums, count, shifted, static_cast<char*>(y) + (i * x.channels + c) * width);
    }
  }
}

}  // namespace

const DepthwiseS8 kDepthwiseS8Avx2 = {"depthwise_s8 avx2", pack_depthwise_rows, depthwise};

}  // namespace narrow::kernels
