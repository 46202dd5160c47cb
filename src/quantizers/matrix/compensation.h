// Making up, in one layer, for the errors of those before it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

// W + strength (W D + R) H⁻¹ with D the drift (may be empty) and R `residual` (may be empty), as quantize_matrix() has them: what
// brings the outputs on spoiled inputs nearest to the float model's. For layers that stay float too: the head of a language
// model so takes back some of what its blocks lost.
// Errors: quantize_matrix's.
Result<std::vector<float>> compensated_weight(std::span<const float> weight, std::int64_t rows, std::int64_t columns, const InputStatistics& statistics,
                                              double strength, base::ThreadPool& pool, std::span<const float> residual = {});

}  // namespace narrow::quantizers
