#include <algorithm>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {

void depthwise_s8_reference(const std::uint8_t* const* x, std::int64_t taps, bool flip, const std::int8_t* w, std::int64_t stride,
                            std::int64_t channels, const GemmEpilogue& epilogue, void* y) {
  const std::uint8_t mask = flip ? 0x80 : 0;
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  for (std::int64_t c = 0; c < channels; c += kPanelColumns) {
    const std::int64_t count = std::min(kPanelColumns, channels - c);
    std::int32_t sums[kPanelColumns] = {};
    for (std::int64_t t = 0; t < taps; ++t) {
      for (std::int64_t j = 0; j < count; ++j) sums[j] += (x[t][c + j] ^ mask) * w[t * stride + c + j];
    }
    GemmEpilogue shifted = epilogue;
    shifted.offset += c;
    if (shifted.scale != nullptr) shifted.scale += c;
    if (shifted.bias != nullptr) shifted.bias += c;
    apply_epilogue(sums, count, shifted, static_cast<char*>(y) + c * width);
  }
}

}  // namespace narrow::kernels
