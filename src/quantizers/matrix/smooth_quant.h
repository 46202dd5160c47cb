// Weights and inputs both in 8 bits (W8A8): how inputs are rounded, and scales between layers that make both easy to round.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "encodings/input_rounding.h"
#include "quantizers/matrix/scales.h"

namespace narrow::quantizers {

// Tokens that a Linear reads, [tokens, columns]: some of those that calibration saw.
struct InputSample {
  const float* x;
  std::int64_t tokens, columns;
};

// SmoothQuant with the strength searched: of smoothing_scales for `alpha` 0.05 … 0.95 those of least squared error of all the
// Linears' outputs, weights rounded to 8 bits a row and inputs as `kind` says; all ones where nothing was better, and then
// `*strength` is -1. Large weights are judged by a sample of their rows. Errors: smoothing_scales'.
Result<std::vector<float>> search_smoothing_scales(std::span<const WeightView> linears, const InputStatistics& statistics, const InputSample& sample,
                                                   encodings::InputRounding::Kind kind, base::ThreadPool& pool, double* strength = nullptr);

// One scale for all tokens, a number of `type`: of ranges at most as large as the largest input, the one of least error at the
// outputs of these Linears, errors of inputs taken as independent. Errors: invalid_argument (a NaN or infinity in the sample).
Result<encodings::InputRounding> choose_tensor_rounding(std::span<const WeightView> linears, const InputSample& sample, float largest, encodings::ScaleType type);

// |W (x - x̂)|² over |W x|², summed over the sample: what rounding the inputs alone costs this Linear.
Result<double> input_rounding_error(const WeightView& linear, const InputSample& sample, const encodings::InputRounding& rounding, base::ThreadPool& pool);

}  // namespace narrow::quantizers
