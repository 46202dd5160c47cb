// One spatial axis of a sliding window (convolution, pooling), everything resolved to numbers.
#pragma once

#include <cstdint>

namespace narrow::kernels {

// Tap k of output o reads input position o * stride - pad_begin + k * dilation; positions outside [0, in) are padding.
// Invariants: in >= 0, kernel, stride, dilation >= 1, pads and out >= 0, all below 2^31.
// A transposed convolution uses the same fields with the roles of `in` and `out` kept: input i adds to output
// i * stride - pad_begin + k * dilation.
struct Window {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;

  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
  bool operator==(const Window&) const = default;
};

}  // namespace narrow::kernels
