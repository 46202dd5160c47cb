// Static INT8: ranges from calibration data, integers stored, QuantizeLinear/DequantizeLinear where the target fuses them.
#pragma once

#include "quantizers/quantizer.h"

namespace narrow::quantizers {

Result<Outcome> quantize_static(const Request& request);

}  // namespace narrow::quantizers
