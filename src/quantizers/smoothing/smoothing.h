// SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) on graphs: what is hard to round moves from activations to weights.
#pragma once

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/layer_inputs.h"

namespace narrow::quantizers {

// Divides activations by a factor a channel and multiplies the weights that read them, so that the model computes what it did:
//  - an activation that MatMul and Gemm with constant weights read; its maker takes the division over where it is a LayerNormalization
//    (or a product and sum by constants) that nobody else reads, else a Div by a constant does it for these readers;
//  - channels between pairs of layers (equalization/pairs.h).
// The factor is max|x|^alpha / max|w|^(1 - alpha), by what the data show. Only activations of which one scale leaves most
// channels few codes are touched. Returns their number. Precondition: types are inferred, alpha in (0, 1]. Errors: what running
// reports.
Result<int> smooth_activations(graph::Graph& graph, double alpha, const datasets::Dataset& data, const InputOptions& options);

}  // namespace narrow::quantizers
