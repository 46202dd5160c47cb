// Weights of layers that stay float, stored in fewer bits all the same: s8 with a scale for each channel, or f16.
#pragma once

#include "graph/graph.h"
#include "passes/insert_qdq.h"
#include "quantizers/quantizer.h"
#include "quantizers/static_int8/plan.h"

namespace narrow::quantizers::static_int8 {

// What the recipe's rules ask for (`float_weights`): s8 weights join `parameters`; f16 ones become constants with a Cast
// in `graph`, which is changed behind its last node only. Weights that other layers read in another form, or that f16
// does not hold, are left. `decided` [nodes] learns their bytes.
void store_float_weights(graph::Graph& graph, const Plan& plan, const Recipe& recipe, passes::QdqPlan& parameters,
                         std::vector<LayerDecision>& decided);

}  // namespace narrow::quantizers::static_int8
