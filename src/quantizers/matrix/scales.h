// Scales between layers: s[k] multiplies column k of the weights that read an input and divides the input, which whoever makes it
// takes over. The float model stays what it was.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

struct WeightView {
  const float* data;             // [rows, columns]
  std::int64_t rows;
};

// AWQ (Lin et al. 2023, arXiv:2306.00978): scales that protect the columns whose inputs are large, for Linears that read the
// same input. Of mean_abs^a / (mean |w|)^b for several a and b, those of least squared error of all the Linears' outputs once
// rounded as `options` say, without search; all ones where nothing was better. Their geometric mean is 1, none is above 1e4 or
// below 1e-4. Large weights are judged by a sample of their rows.
// Errors: quantize_matrix's.
Result<std::vector<float>> search_awq_scales(std::span<const WeightView> linears, const InputStatistics& statistics, const MatrixOptions& options,
                                             base::ThreadPool& pool);

// SmoothQuant (Xiao et al. 2022, arXiv:2211.10438): max_abs^alpha / (max |w|)^(1 - alpha), which moves what is hard to round from
// inputs to weights. A column never seen or never used gets 1.
// Errors: invalid_argument when alpha is not in [0, 1], or quantize_matrix's.
Result<std::vector<float>> smoothing_scales(std::span<const WeightView> linears, const InputStatistics& statistics, double alpha);

// At most `count` evenly spaced rows of all the Linears as one matrix, [rows, columns].
std::vector<float> sample_rows(std::span<const WeightView> linears, std::int64_t columns, std::int64_t count);

// weight [rows, columns] *= scales, by columns.
void multiply_columns(std::span<float> weight, std::span<const float> scales);

}  // namespace narrow::quantizers
