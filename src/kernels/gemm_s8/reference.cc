#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {

void apply_epilogue(const std::int32_t* sums, std::int64_t n, const GemmEpilogue& e, void* c) {
  for (std::int64_t j = 0; j < n; ++j) {
    const auto acc = static_cast<std::int32_t>(static_cast<std::uint32_t>(sums[j]) + static_cast<std::uint32_t>(e.offset[j]));
    if (e.output == GemmOutput::kS32) {
      static_cast<std::int32_t*>(c)[j] = acc;
      continue;
    }
    const float v = std::fma(static_cast<float>(acc), e.scale[j], e.bias[j]);
    if (e.output == GemmOutput::kF32) {
      static_cast<float*>(c)[j] = v;
      continue;
    }
    const float low = static_cast<float>(e.low - e.zero_point), high = static_cast<float>(e.high - e.zero_point);
    const float clamped = v > low ? (v < high ? v : high) : low;  // NaN becomes low, as maxps does
    const std::int32_t code = static_cast<std::int32_t>(std::nearbyint(clamped)) + e.zero_point;
    static_cast<std::uint8_t*>(c)[j] = static_cast<std::uint8_t>(code);
  }
}

void gemm_s8_reference(const std::uint8_t* a, std::int64_t lda, bool flip, std::int64_t m, const PackedS8& b,
                       std::int64_t first_panel, std::int64_t last_panel, const GemmEpilogue& epilogue, void* c,
                       std::int64_t ldc) {
  const std::uint8_t mask = flip ? 0x80 : 0;
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t p = first_panel; p < last_panel; ++p) {
    const std::int64_t column = p * kPanelColumns;
    const std::int64_t columns = std::min(kPanelColumns, b.n - column);
    GemmEpilogue shifted = epilogue;
    shifted.offset += column;
    if (shifted.scale != nullptr) shifted.scale += column;
    if (shifted.bias != nullptr) shifted.bias += column;
    for (std::int64_t i = 0; i < m; ++i) {
      std::uint32_t sums[kPanelColumns] = {};
      for (std::int64_t row = 0; row < b.k; ++row) {
        const std::int32_t x = a[i * lda + row] ^ mask;
        const std::int8_t* quad = b.panel(p) + row / 4 * kPanelColumns * 4 + row % 4;
        for (std::int64_t j = 0; j < columns; ++j) sums[j] += static_cast<std::uint32_t>(x * quad[j * 4]);
      }
      std::int32_t signed_sums[kPanelColumns];
      for (std::int64_t j = 0; j < kPanelColumns; ++j) signed_sums[j] = static_cast<std::int32_t>(sums[j]);
      apply_epilogue(signed_sums, columns, shifted, static_cast<char*>(c) + (i * ldc + column) * width);
    }
  }
}

}  // namespace narrow::kernels
