// Dynamic INT8: integer weights, activations quantized anew in every run from their own range. No calibration data.
#pragma once

#include "quantizers/quantizer.h"

namespace narrow::quantizers {

Result<Outcome> quantize_dynamic(const Request& request);

}  // namespace narrow::quantizers
