// Makes a quantized graph run in integers: what DequantizeLinear → operator → QuantizeLinear only says becomes operators
// on 8-bit codes (narrow's own and com.microsoft's), in channels-last order wherever that is faster.
//
// For execution only: the result is not meant to be written to a file. Input and output names stay; a code may differ by
// one from the simulation in f32, where the real result lies within f32 rounding of the middle between two codes.
#pragma once

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::passes {

// Errors: what type inference reports. A graph without 8-bit codes is left as it is.
Status lower_qdq(graph::Graph& graph);

// The second half, for graphs that hold integer operators already: convolutions and pools on codes, and what lies between
// them, work on channels-last data; transposes stay only at the borders.
Status assign_channels_last(graph::Graph& graph);

}  // namespace narrow::passes
