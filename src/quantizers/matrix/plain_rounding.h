// Rounding between minimum and maximum, row by row, as fast as memory gives the weights: for whole models at once.
#pragma once

#include <functional>

#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

// `row` gives row i of the weight as f32. The matrix is that of method "rounding" with search off; errors are relative squared
// errors of the weights. Errors: invalid_argument (options; a NaN or infinity, naming its place).
Result<MatrixResult> round_rows(const std::function<void(std::int64_t row, float* out)>& row, std::int64_t rows, std::int64_t columns, const MatrixOptions& options);

}  // namespace narrow::quantizers
