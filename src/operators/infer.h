// Shape and type inference over a graph, and running single nodes ahead of time.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::operators {

struct InferOptions {
  // Replace the outputs of nodes whose inputs are all known and small (shape arithmetic) by known tensors during
  // inference; the graph itself is not edited.
  bool fold_small = true;
};

// What inference found besides types.
struct Inference {
  // Tensors known before running, by value id (initializers not repeated).
  std::unordered_map<graph::ValueId, Tensor> known;
  // Nodes whose types could not be determined, with the reason: they stay float.
  struct Gap { int node; std::string reason; };
  std::vector<Gap> gaps;
};

// Sets the type of every value it can determine, starting from graph inputs and constants. Symbolic and unknown
// dimensions stay so; unknown operators leave their outputs' declared types. Errors: corrupt, when a node is
// impossible (naming it, with found and expected).
Result<Inference> infer_types(graph::Graph& graph, const InferOptions& options = {});

// Runs one node on known inputs (in node order, null where omitted). Errors as the kernel's; unsupported for nodes
// with subgraphs or without a kernel.
Result<std::vector<Tensor>> evaluate_node(const graph::Node& node, std::span<const Tensor* const> inputs);

}  // namespace narrow::operators
