// Inner loop of depthwise 8-bit convolution: some output pixels, every channel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {

// What one call reads: output pixel i and tap t see the `channels` codes at rows[i] + offsets[t].
struct DepthwiseInput {
  const std::uint8_t* const* rows = nullptr;
  std::int64_t pixels = 0;
  const std::int64_t* offsets = nullptr;
  std::int64_t taps = 0, channels = 0;
  bool flip = false;  // the codes are s8 and enter as x + 128
};

// y[i * channels + c] = epilogue(sum over taps of x * w). `w` is what pack() made; the epilogue's arrays are padded to
// whole panels.
struct DepthwiseS8 {
  const char* name;
  std::vector<std::int8_t> (*pack)(const std::int8_t* w, std::int64_t channels, std::int64_t taps);  // of w[channels][taps]
  void (*run)(const DepthwiseInput& x, const std::int8_t* w, const GemmEpilogue& epilogue, void* y);
};

// Those that this processor runs, within NARROW_ISA; the last one is the fastest.
std::span<const DepthwiseS8* const> depthwise_s8_kernels();
inline const DepthwiseS8& depthwise_s8() { return *depthwise_s8_kernels().back(); }

extern const DepthwiseS8 kDepthwiseS8Reference, kDepthwiseS8Avx2, kDepthwiseS8Avx512, kDepthwiseS8Avx512Vnni, kDepthwiseS8Neon;

// [taps][channels, padded to whole panels]: what all but VNNI read.
std::vector<std::int8_t> pack_depthwise_rows(const std::int8_t* w, std::int64_t channels, std::int64_t taps);

}  // namespace narrow::kernels
