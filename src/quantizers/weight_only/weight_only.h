// Weights of few bits under products that stay float: MatMul and Gemm with constant weights.
#pragma once

#include "quantizers/quantizer.h"

namespace narrow::quantizers {

// recipe.weights says how many bits, groups and ranges. Form qdq: DequantizeLinear of u4 or u8 in blocks (opset 21); qoperator:
// com.microsoft.MatMulNBits, which takes 2 bits too. Weights are rounded to nearest; no data is needed.
Result<Outcome> quantize_weight_only(const Request& request);

}  // namespace narrow::quantizers
