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

void gemm_s8_reference(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last,
                       const GemmEpilogue& epilogue, void* c, std::int64_t ldc) {
  const std::uint8_t mask = a.flip ? 0x80 : 0;
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t column = b.first_panel(s) * kPanelColumns, end = b.first_panel(s + 1) * kPanelColumns;
    const std::int64_t step = end - column, columns = std::min(end, b.n) - column;
    GemmEpilogue shifted = epilogue;
    shifted.offset += column;
    if (shifted.scale != nullptr) shifted.scale += column;
    if (shifted.bias != nullptr) shifted.bias += column;
    for (std::int64_t i = 0; i < m; ++i) {
      std::uint32_t sums[kMaxStripPanels * kPanelColumns] = {};
      for (std::int64_t run = 0; run < b.runs; ++run) {
        const std::uint8_t* from = a.row(i) + (a.offsets == nullptr ? 0 : a.offsets[run]);
        for (std::int64_t k = 0; k < b.run_length(); ++k) {
          const std::int32_t x = from[k] ^ mask;
          const std::int8_t* quad = b.strip(s) + (run * b.run_k4() + k / 4) * step * 4 + k % 4;
          for (std::int64_t j = 0; j < columns; ++j) sums[j] += static_cast<std::uint32_t>(x * quad[j * 4]);
        }
      }
      for (std::int64_t j = 0; epilogue.row != nullptr && j < columns; ++j) {
        sums[j] += static_cast<std::uint32_t>(epilogue.row[i]) * static_cast<std::uint32_t>(epilogue.column[column + j]);
      }
      std::int32_t signed_sums[kMaxStripPanels * kPanelColumns];
      std::copy(std::begin(sums), std::end(sums), signed_sums);
      apply_epilogue(signed_sums, columns, shifted, static_cast<char*>(c) + (i * ldc + column) * width);
    }
  }
}

}  // namespace narrow::kernels
