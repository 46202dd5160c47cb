// Sums of 16 channels at a time in s32; the epilogue is the reference's, whose fma gives the same bits.
#include <arm_neon.h>

#include <cstring>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

void depthwise(const DepthwiseInput& x, const std::int8_t* w, const GemmEpilogue& epilogue, void* y) {
  const uint8x16_t sign = vdupq_n_u8(x.flip ? 0x80 : 0);
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t stride = (x.channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  for (std::int64_t i = 0; i < x.pixels; ++i) {
    for (std::int64_t c = 0; c < x.channels; c += kPanelColumns) {
      const std::int64_t count = x.channels - c < kPanelColumns ? x.channels - c : kPanelColumns;
      int32x4_t acc[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
      for (std::int64_t t = 0; t < x.taps; ++t) {
        const std::uint8_t* from = x.rows[i] + x.offsets[t] + c;
        std::uint8_t last[kPanelColumns] = {};
        if (count < kPanelColumns) from = static_cast<const std::uint8_t*>(std::memcpy(last, from, static_cast<std::size_t>(count)));
        const uint8x16_t bytes = veorq_u8(vld1q_u8(from), sign);
        const int8x16_t weights = vld1q_s8(w + t * stride + c);
        const int16x8_t x_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))), x_high = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
        const int16x8_t w_low = vmovl_s8(vget_low_s8(weights)), w_high = vmovl_high_s8(weights);
        acc[0] = vmlal_s16(acc[0], vget_low_s16(x_low), vget_low_s16(w_low));
        acc[1] = vmlal_high_s16(acc[1], x_low, w_low);
        acc[2] = vmlal_s16(acc[2], vget_low_s16(x_high), vget_low_s16(w_high));
        acc[3] = vmlal_high_s16(acc[3], x_high, w_high);
      }
      std::int32_t sums[kPanelColumns];
      for (int j = 0; j < 4; ++j) vst1q_s32(sums + 4 * j, acc[j]);
      GemmEpilogue shifted = epilogue;
      shifted.offset += c;
      if (shifted.scale != nullptr) shifted.scale += c;
      if (shifted.bias != nullptr) shifted.bias += c;
      apply_epilogue(sums, count, shifted, static_cast<char*>(y) + (i * x.channels + c) * width);
    }
  }
}

}  // namespace

const DepthwiseS8 kDepthwiseS8Neon = {"depthwise_s8 neon", pack_depthwise_rows, depthwise};

}  // namespace narrow::kernels
