// What quantize() and quantize_to_target() share: from options to a recipe, from a quantizer's outcome to figures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "narrow/quantize.h"
#include "quantizers/quantizer.h"
#include "quantizers/recipe.h"

namespace narrow {

// The recipe file, and what the options say over it. `method` may still be "auto".
Result<quantizers::Recipe> make_recipe(const QuantizeOptions& options, const Data* data);

// invalid_argument for a model that is quantized already.
Status refuse_quantized(const Model& model);

// Bad numbers end the work before it starts; what merely looks wrong becomes a warning.
Result<std::vector<std::string>> check_calibration_data(const Data& data);

// Everything but the method's reason. `calibration` may be null.
Quantization describe_outcome(const Model& model, const Data* calibration, const QuantizeOptions& options, const quantizers::Recipe& recipe,
                              quantizers::Outcome outcome);

// The costliest roundings and the curve of a mixed assignment.
void describe_mixed(const graph::Graph& reference, const std::vector<quantizers::NoiseSource>& sources, const std::vector<quantizers::FrontierPoint>& frontier,
                    std::size_t chosen, Trail& trail);

// How the quantized model's figures compare; `noise_counts`: without labels and classes, noise at the outputs is held
// against max_drop.
Verdict verdict_of(const Metrics& original, const Metrics& quantized, const JudgeOptions& options, bool noise_counts);

}  // namespace narrow
