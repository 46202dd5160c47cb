// Element-wise functions of one quantized value, as tables.
#pragma once

#include <optional>

#include "graph/graph.h"

namespace narrow::passes {

struct LookupTable {
  graph::ValueId source;  // the codes that the function reads
  Tensor codes;           // answer for each byte of the source
};

// What `quantize` (QuantizeLinear with constant parameters) rounds, when it depends element by element on one
// dequantized 8-bit value and on constant scalars only. Computed by the operators themselves: exactly what they give.
std::optional<LookupTable> tabulate(const graph::Graph& graph, const graph::Uses& uses, const graph::Node& quantize);

// Joins integer operators that together depend on one value's codes (x * sigmoid(x), tables of tables) into one Lookup, and
// hands a Lookup that alone reads a QConv to the convolution. Precondition: types are inferred. Nodes that are no longer
// needed stay without outputs, or without readers.
void fuse_tables(graph::Graph& graph);

}  // namespace narrow::passes
