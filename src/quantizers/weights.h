// Integer weights: per tensor or per channel scales and codes of a constant f32 tensor.
#pragma once

#include <span>
#include <vector>

#include "encodings/affine.h"
#include "tensor/quant_type.h"
#include "tensor/tensor.h"

namespace narrow::quantizers {

// Smallest and largest element of each slice along `axis`; one pair for the whole tensor when axis is -1.
struct Extremes {
  std::vector<float> min, max;
};
Extremes extremes(const Tensor& weight, int axis);

// Scales and zero points that cover each slice on `grid`.
QuantParams weight_params(const Extremes& extremes, const encodings::AffineGrid& grid);

// Codes as s8 or u8. Precondition: params has one entry per slice.
Tensor quantize_weight(const Tensor& weight, int axis, const QuantParams& params, const encodings::AffineGrid& grid,
                       DType storage_type);

// A bias at scale s_x * s_w, rounded half to even, saturating at ±(2^31 - 1).
inline constexpr double kLargestBias = 2147483647.0;
std::int32_t bias_code(double bias, double scale);

QuantType weight_type(DType storage_type, int axis, const encodings::AffineGrid& grid);

}  // namespace narrow::quantizers
