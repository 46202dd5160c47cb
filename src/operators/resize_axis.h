// The coordinate rules of ONNX Resize along one axis.
#pragma once

#include <cstdint>

#include "graph/graph.h"
#include "kernels/resize/resize.h"
#include "narrow/result.h"

namespace narrow::operators {

struct ResizeAttributes {
  enum class Mode { kNearest, kLinear, kCubic };
  enum class Coordinates { kHalfPixel, kHalfPixelSymmetric, kPytorchHalfPixel, kAlignCorners, kAsymmetric, kTfCropAndResize };
  enum class Nearest { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
  enum class AspectRatio { kStretch, kNotLarger, kNotSmaller };
  Mode mode = Mode::kNearest;
  Coordinates coordinates = Coordinates::kHalfPixel;
  Nearest nearest = Nearest::kRoundPreferFloor;
  AspectRatio aspect_ratio = AspectRatio::kStretch;
  bool antialias = false, exclude_outside = false;
  float cubic_a = -0.75f, extrapolation = 0;
};

// Errors: corrupt, naming the node and an unknown word.
Result<ResizeAttributes> read_resize(const graph::Node& node);

// One axis from `in` to `out` positions, `scale` as given (out / in when sizes were given). `roi_begin`, `roi_end`: for
// tf_crop_and_resize. Preconditions: in >= 1, out >= 1, scale > 0, both sizes below 2^31. Errors: resource_exhausted
// (an antialiasing filter of absurd length).
Result<kernels::AxisTable> make_axis_table(const ResizeAttributes& attributes, std::int64_t in, std::int64_t out,
                                           float scale, float roi_begin, float roi_end);

}  // namespace narrow::operators
