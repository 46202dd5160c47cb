// Static INT8: ranges from calibration data, integers stored, QuantizeLinear/DequantizeLinear where the target fuses them.
#pragma once

#include "quantizers/preparation.h"
#include "quantizers/quantizer.h"

namespace narrow::quantizers {

// The float model that quantize_static works on: prepare_model()'s, changed by the techniques of the recipe that keep its
// meaning. Errors: prepare_model()'s, and those of running the model where a technique needs data.
Result<Prepared> prepare_static(const Request& request);

// Whether ranges can be had without data: from what BatchNormalization learned (data_free.h).
bool has_statistics(const graph::Model& model);

// Without data: ranges, means and bias correction by has_statistics().
Result<Outcome> quantize_static(const Request& request);

}  // namespace narrow::quantizers
