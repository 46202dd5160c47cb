// A simulation of what a target makes of a quantized graph: which operators become integer kernels and which run as
// DequantizeLinear → float → QuantizeLinear.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "targets/target.h"

namespace narrow::targets {

struct FusedNode {
  int node;             // index into graph.nodes
  bool integer;         // runs as an integer kernel
  std::string why_not;  // when it reads dequantized values and does not
};

// One entry for each node that reads a dequantized activation or computes in integers; Q and DQ themselves are left out.
std::vector<FusedNode> simulate_fusion(const graph::Graph& graph, const Target& target);

// Sentences about float operators between integer ones, with the number of values converted per run.
std::vector<std::string> describe_islands(const graph::Graph& graph, const Target& target);

}  // namespace narrow::targets
