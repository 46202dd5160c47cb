// Inner loop of depthwise f32 convolution: output pixels of one line, every channel.
#pragma once

#include <cstdint>

#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {

// Output pixel i sees, at tap t, the `channels` numbers at base + i * step + offsets[t], times those at weights[t] (64-byte
// aligned, padded to whole panels).
struct DepthwiseLine {
  const float* base = nullptr;
  std::int64_t step = 0, pixels = 0, channels = 0, taps = 0;
  const std::int64_t* offsets = nullptr;
  const float* const* weights = nullptr;
};

// y[i * channels + c] = epilogue(sum over taps of x * w), the residual laid out as y.
using DepthwiseF32 = void (*)(const DepthwiseLine& x, const ProductEpilogue& epilogue, float* y);

void depthwise_f32_avx2(const DepthwiseLine& x, const ProductEpilogue& epilogue, float* y);
void depthwise_f32_avx512(const DepthwiseLine& x, const ProductEpilogue& epilogue, float* y);

}  // namespace narrow::kernels
