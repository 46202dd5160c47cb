// Inner loop of depthwise 8-bit convolution: one output pixel, every channel.
#pragma once

#include <cstdint>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {

// y[c] = epilogue(sum over taps of x[tap][c] * w[tap * stride + c]). `x` are pointers to `channels` codes each; with
// `flip` they are s8 and enter as x + 128. w is padded to whole panels.
using DepthwiseS8 = void (*)(const std::uint8_t* const* x, std::int64_t taps, bool flip, const std::int8_t* w, std::int64_t stride,
                             std::int64_t channels, const GemmEpilogue& epilogue, void* y);

DepthwiseS8 depthwise_s8(base::Isa isa);
DepthwiseS8 depthwise_s8();

void depthwise_s8_reference(const std::uint8_t* const*, std::int64_t, bool, const std::int8_t*, std::int64_t, std::int64_t,
                            const GemmEpilogue&, void*);
void depthwise_s8_avx2(const std::uint8_t* const*, std::int64_t, bool, const std::int8_t*, std::int64_t, std::int64_t,
                       const GemmEpilogue&, void*);
void depthwise_s8_avx512(const std::uint8_t* const*, std::int64_t, bool, const std::int8_t*, std::int64_t, std::int64_t,
                         const GemmEpilogue&, void*);

}  // namespace narrow::kernels
