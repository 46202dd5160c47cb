// Half precision: fp16 stores and computes in f16; bf16 stores weights in bf16 and computes in f32, since CPU runtimes
// have no bf16 kernels for ONNX graphs.
#pragma once

#include "quantizers/quantizer.h"

namespace narrow::quantizers {

Result<Outcome> quantize_fp16(const Request& request);
Result<Outcome> quantize_bf16(const Request& request);

}  // namespace narrow::quantizers
