#include <algorithm>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

void depthwise(const DepthwiseInput& x, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  const std::uint8_t mask = x.flip ? 0x80 : 0;
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t stride = (x.channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  for (std::int64_t i = 0; i < x.pixels; ++i) {
    for (std::int64_t c = 0; c < x.channels; c += kPanelColumns) {
      const std::int64_t count = std::min(kPanelColumns, x.channels - c);
      std::int32_t sums[kPanelColumns] = {};
      for (std::int64_t t = 0; t < x.taps; ++t) {
        for (std::int64_t j = 0; j < count; ++j) sums[j] += (x.rows[i][x.offsets[t] + c + j] ^ mask) * w[t * stride + c + j];
      }
      GemmEpilogue shifted = epilogue;
      shifted.offset += c;
      if (shifted.scale != nullptr) shifted.scale += c;
      if (shifted.bias != nullptr) shifted.bias += c;
      apply_epilogue(sums, count, shifted, static_cast<char*>(y) + (i * x.channels + c) * width);
    }
  }
}

}  // namespace

std::vector<std::int8_t> pack_depthwise_rows(const std::int8_t* w, std::int64_t channels, std::int64_t taps) {
  const std::int64_t stride = (channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  std::vector<std::int8_t> packed(static_cast<std::size_t>(taps * stride), 0);
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t t = 0; t < taps; ++t) packed[t * stride + c] = w[c * taps + t];
  }
  return packed;
}

const DepthwiseS8 kDepthwiseS8Reference = {"depthwise_s8 scalar", pack_depthwise_rows, depthwise};

}  // namespace narrow::kernels
