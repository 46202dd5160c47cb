// Walking over a graph and the graphs nested in it.
#pragma once

#include <functional>

#include "graph/graph.h"

namespace narrow::evaluation {

// The graph itself first, then those in attributes of its nodes, to the depth that formats accept.
void for_each_graph(const graph::Graph& graph, const std::function<void(const graph::Graph&)>& visit);

}  // namespace narrow::evaluation
