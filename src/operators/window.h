// Sliding-window attributes (kernel_shape, strides, dilations, pads, auto_pad, ceil_mode) as ONNX means them, read once
// and resolved against sizes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "kernels/window.h"
#include "narrow/result.h"

namespace narrow::operators {

struct WindowAttributes {
  enum class AutoPad { kNotSet, kSameUpper, kSameLower, kValid };
  std::vector<std::int64_t> kernel, strides, dilations, pads;  // empty where the node leaves them out
  std::vector<std::int64_t> output_padding, output_shape;      // ConvTranspose
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
};

// Errors: corrupt, naming the node: counts that disagree, a stride, dilation or kernel below 1, a negative pad, values
// beyond 2^31, an unknown auto_pad.
Result<WindowAttributes> read_window(const graph::Node& node);

// The windows of an input of spatial sizes `in`; `kernel` empty: the attribute's. Errors: corrupt (counts disagree, or
// a kernel larger than its padded input).
Result<std::vector<kernels::Window>> resolve_window(const graph::Node& node, const WindowAttributes& attributes,
                                                    std::span<const std::int64_t> in,
                                                    std::span<const std::int64_t> kernel = {});
// The same for a transposed convolution: `out` follows from `in`, or the pads from `output_shape`.
Result<std::vector<kernels::Window>> resolve_transposed_window(const graph::Node& node,
                                                               const WindowAttributes& attributes,
                                                               std::span<const std::int64_t> in,
                                                               std::span<const std::int64_t> kernel = {});

// Output dimensions for spatial dimensions of which some may be unknown. Errors as above.
Result<std::vector<graph::Dim>> window_output_dims(const graph::Node& node, const WindowAttributes& attributes,
                                                   std::span<const graph::Dim> in,
                                                   std::span<const std::int64_t> kernel, bool transposed);

}  // namespace narrow::operators
