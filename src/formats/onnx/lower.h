// Chooses the opset of an exported model, as low as its types and operators allow, and gives every ai.onnx node the
// form it has there: the way back from normalise.h.
#pragma once

#include <unordered_set>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

// The oldest opset whose definitions express every node and type of the graph and its subgraphs, not below `at_least`.
std::int64_t required_opset(const graph::Graph& graph, std::int64_t at_least);

// Rewrites the nodes in place. Precondition: opset >= required_opset(graph, …).
void lower(graph::Graph& graph, std::int64_t opset);

// The IR version that came with an opset.
std::int64_t ir_version_of(std::int64_t opset);

}  // namespace narrow::formats::onnx
