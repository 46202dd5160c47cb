// 8-bit convolution over channels-last activations: rows of the product are read where the pixels lie, padding holds the
// zero point, so that the sums are exact and every instruction set gives the same bits.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/gemm_s8/integer_weights.h"

namespace narrow::kernels {

// One spatial axis; unused leading axes keep the defaults.
struct ConvAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;

  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
};

struct ConvS8Shape {
  std::int64_t batch = 1, channels = 1, filters = 1, groups = 1;
  std::array<ConvAxis, 3> axes;  // depth, height, width

  std::int64_t pixels_in() const { return axes[0].in * axes[1].in * axes[2].in; }
  std::int64_t pixels_out() const { return axes[0].out * axes[1].out * axes[2].out; }
  std::int64_t taps() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }
};

class ConvS8Weights {
 public:
  // `w` is [filters, channels / groups, taps] (ONNX order), zero points 1 or one a filter. `row_taps`: how many taps in a
  // row lie side by side in the image, the kernel's width where the last axis is not dilated.
  ConvS8Weights(const void* w, bool is_unsigned, std::int64_t filters, std::int64_t group_channels, std::int64_t taps,
                std::int64_t groups, std::span<const std::int32_t> zero_points, std::int64_t row_taps = 1);

  // Everything but the data of one call. The arrays are as lay_out() makes them of one value a filter.
  struct Output {
    GemmOutput type = GemmOutput::kS32;
    std::vector<std::int32_t> offset;  // from offsets(), which lays out itself
    std::vector<float> scale, bias;    // unused for kS32
    std::int32_t zero_point = 0, low = 0, high = 255;
    std::vector<std::uint8_t> table;   // what each code is replaced by, 256 or none
  };
  std::vector<std::int32_t> offsets(std::int32_t x_zero, bool x_signed, const std::int32_t* bias) const;
  std::vector<float> lay_out(std::span<const float> per_filter) const;

  // x: [batch, pixels, channels], y: [batch, pixels out, filters].
  void run(const ConvS8Shape& shape, const std::uint8_t* x, bool x_signed, std::int32_t x_zero, const Output& output, void* y,
           base::ThreadPool& pool) const;

  std::string describe(const ConvS8Shape& shape) const;

 private:
  std::int64_t padded_filters() const;  // of one group, to whole panels

  std::int64_t filters_, group_channels_, groups_, run_taps_;
  std::vector<IntegerWeights> group_weights_;  // k = taps * channels of a group, tap-major
  std::vector<std::int8_t> depthwise_;         // when each filter reads one channel of its own
  std::vector<std::int32_t> depthwise_sums_;
};

}  // namespace narrow::kernels
