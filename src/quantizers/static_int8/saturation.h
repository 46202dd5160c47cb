// Where codes would be wasted: inputs of an activation beyond which its result no longer changes.
#pragma once

#include "graph/graph.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {

// The part of a value's range that its readers tell apart: [-8, inf] for x * Sigmoid(x), [-3, inf] for HardSwish.
// Everything when some reader, or the caller of the model, sees the value itself.
calibration::Range useful_range(const graph::Graph& graph, const graph::Uses& uses, graph::ValueId id);

// True when `mul` is id * Sigmoid(id): SiLU, spelled out.
bool is_silu(const graph::Graph& graph, const graph::Uses& uses, const graph::Node& mul, graph::ValueId id);

// Cuts the ranges of values to what their readers tell apart; what lies outside saturates there just the same.
void cut_saturated(const graph::Graph& graph, Ranges& ranges);

}  // namespace narrow::quantizers::static_int8
