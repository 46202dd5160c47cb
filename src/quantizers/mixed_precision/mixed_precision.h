// Mixed precision: static INT8 for the layers that bear it, float with small weights for those that do not.
#pragma once

#include "quantizers/quantizer.h"

namespace narrow::quantizers {

// The point of least cost whose noise at the outputs is within recipe.noise_budget, measured on calibration samples; the
// one of least noise when none is. Outcome::frontier is the whole curve. Errors: quantize_static's.
Result<Outcome> quantize_mixed(const Request& request);

}  // namespace narrow::quantizers
