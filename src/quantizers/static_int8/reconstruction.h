// Weights rounded for what they do to their layer's outputs, not for themselves: layer-wise reconstruction against the float
// layer on calibration inputs.
//
// Each layer is a matrix product (a convolution by its patches), and rounding W to Ŵ costs trace((W - Ŵ) H (W - Ŵ)ᵀ) with H
// the sum of x xᵀ. "gptq" rounds column by column, later columns taking up what earlier ones lost (Frantar et al. 2022);
// "adaptive" also searches each channel's scale and then descends over codes and scales: the discrete optimum that AdaRound
// (Nagel et al. 2020, arXiv:2004.10568) relaxes.
#pragma once

#include <map>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "quantizers/layer_inputs.h"
#include "quantizers/recipe.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {

struct RoundedWeight {
  std::vector<float> scale;      // one an output channel
  Tensor codes;                  // s8, shaped as the weight
};

// By weight value, for quantized layers with one scale a channel whose weight nobody else reads; very wide and depthwise layers are left.
// Errors: what running the model reports.
Result<std::map<graph::ValueId, RoundedWeight>> reconstruct_weights(const graph::Graph& graph, const Plan& plan, const Recipe& recipe,
                                                                    const datasets::Dataset& data, const InputOptions& options);

}  // namespace narrow::quantizers::static_int8
