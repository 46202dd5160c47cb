// The error of each layer by itself: both models run as one graph in which every quantized layer reads the float model's
// values instead of what the quantized layers before it made.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "diagnosis/pairing.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow::diagnosis {

// One entry a value that both models have, in graph order; accumulated_db is left 0. The quantization of a layer's inputs and
// weights counts as its own, that of its output as its reader's. Errors: what running reports.
Result<std::vector<LayerError>> errors_alone(const graph::Graph& reference, const graph::Graph& quantized,
                                             std::span<const ActivationSite> sites, const datasets::Dataset& data,
                                             const evaluation::SweepOptions& options);

}  // namespace narrow::diagnosis
