// What every method does first: refuse what cannot be quantized, then simplify the float graph.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/quantizer.h"

namespace narrow::quantizers {

struct Prepared {
  graph::Model model;                       // a copy: constants folded, BatchNormalization folded, no-ops removed
  std::vector<std::string> warnings;
};

// Errors: invalid_argument for a model that is quantized already (naming the node), and for weights that hold NaN or
// infinities (naming the tensor and how many); corrupt, when the graph makes no sense.
Result<Prepared> prepare_model(const graph::Model& model);

// One decision for each node of `original` that `prepared` no longer has, in the original order; the others are taken
// from `decided` by node name.
std::vector<LayerDecision> decisions_for(const graph::Graph& original, std::vector<LayerDecision> decided);

// Bytes of the float constants that the node reads.
std::uint64_t weight_bytes(const graph::Graph& graph, const graph::Node& node);

// Pairs of equal names: values of `original` that `quantized` still has under the same name and element type.
std::vector<std::pair<std::string, std::string>> same_named_values(const graph::Graph& original,
                                                                   const graph::Graph& quantized);

// Writes what ran into the model's metadata ("narrow.recipe", "narrow.version").
void record(graph::Model& model, const Recipe& recipe);

}  // namespace narrow::quantizers
