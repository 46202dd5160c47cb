// Which layers leave integers, and in which order, when noise must fall: the curve from all layers in integers to none.
//
// An activation is rounded as long as one of the layers around it computes in integers (where the target wants Q on every
// edge; elsewhere: one of those that read it), so layers leave in neighbourhoods. Each step takes the neighbourhood that
// rids the outputs of most noise for what it costs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "quantizers/mixed_precision/sensitivity.h"
#include "quantizers/quantizer.h"
#include "targets/target.h"

namespace narrow::quantizers {

enum class Cost { kLatency, kSize };

// `decisions` are quantize_static's for `reference`; the first point lifts nothing, the last everything. Noise never rises
// along the curve, cost never falls.
std::vector<FrontierPoint> find_frontier(const graph::Graph& reference, const std::vector<LayerDecision>& decisions, const targets::Target& target,
                                         const Sensitivity& sensitivity, Cost cost);

// The point to try after `tried`, whose model was measured at `measured`: the first one predicted within `noise`, predictions
// corrected by how far the last one was off; at least one further on. `tried` itself when there is none.
std::size_t next_point(const std::vector<FrontierPoint>& frontier, std::size_t tried, double measured, double noise);

// Rules that keep the lifted nodes in float, their weights stored as f16 or, for size, as s8 where the budget has room.
std::vector<Rule> rules_of(const FrontierPoint& point, const Sensitivity& sensitivity, double noise, Cost cost);

// Rules that keep in float what `before` left there and `now` computes in integers: with other neighbours the reasons to leave it have
// gone, but its noise is in no prediction.
std::vector<Rule> rules_against_return(const std::vector<LayerDecision>& before, const std::vector<LayerDecision>& now);

}  // namespace narrow::quantizers
