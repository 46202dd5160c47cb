// From ranges to numbers: scales, zero points, integer weights and biases.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "encodings/affine.h"
#include "graph/graph.h"
#include "narrow/result.h"
#include "passes/insert_qdq.h"
#include "quantizers/recipe.h"
#include "quantizers/static_int8/plan.h"
#include "quantizers/static_int8/reconstruction.h"

namespace narrow::quantizers::static_int8 {

// The codes a type may take: [-127, 127] for restricted s8, halved when reduce_range is asked for.
encodings::AffineGrid activation_grid(DType storage_type, bool symmetric);
encodings::AffineGrid weight_grid(const targets::Target& target, const Recipe& recipe);

// Everything that insert_qdq writes, for the second plan. Notes say what was bent to fit (a weight scale enlarged
// because its bias would overflow s32, …). Weights in `rounded` are taken from there.
passes::QdqPlan make_parameters(const graph::Graph& graph, const Plan& plan, const Recipe& recipe, const Ranges& ranges,
                                const std::map<graph::ValueId, RoundedWeight>& rounded, std::vector<std::string>& notes);

}  // namespace narrow::quantizers::static_int8
