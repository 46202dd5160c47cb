#include "quantizers/static_int8/saturation.h"

#include <algorithm>
#include <cmath>

namespace narrow::quantizers::static_int8 {
namespace {

using calibration::Range;
using graph::Graph;
using graph::Node;
using graph::Uses;
using graph::ValueId;

constexpr Range kEverything{-INFINITY, INFINITY};
// Sigmoid(-8) and 1 - Sigmoid(8) are a tenth of a step of its 8-bit output; x * Sigmoid(x) is 0 within 0.003 below -8.
constexpr float kSigmoid = 8.0f;
// Tanh(4) is 1 within a sixth of a step.
constexpr float kTanh = 4.0f;
// x * Phi(x) is 0 within 0.0002 below -4.
constexpr float kGelu = 4.0f;

Range told_apart(const Graph& graph, const Uses& uses, const Node& node, ValueId id) {
  if (node.is("Sigmoid")) return {-kSigmoid, kSigmoid};
  if (node.is("Mul")) return is_silu(graph, uses, node, id) ? Range{-kSigmoid, INFINITY} : kEverything;
  if (node.is("Tanh")) return {-kTanh, kTanh};
  if (node.is("Gelu")) return {-kGelu, INFINITY};
  if (node.is("HardSwish")) return {-3.0f, INFINITY};
  if (node.is("Relu")) return {0.0f, INFINITY};
  if (node.is("Clip") && node.input(0) == id) {
    const auto [low, high] = activation_bounds(graph, node);
    return low <= high ? Range{low, high} : kEverything;
  }
  if (node.is("HardSigmoid")) {
    const float alpha = node.get_float("alpha", 0.2f), beta = node.get_float("beta", 0.5f);
    return alpha > 0 ? Range{-beta / alpha, (1 - beta) / alpha} : kEverything;
  }
  return kEverything;
}

}  // namespace

bool is_silu(const Graph& graph, const Uses& uses, const Node& mul, ValueId id) {
  if (!mul.is("Mul") || mul.inputs.size() != 2 || mul.inputs[0] == mul.inputs[1]) return false;
  const int maker = uses.producer[mul.inputs[0] == id ? mul.inputs[1] : mul.inputs[0]];
  return maker >= 0 && graph.nodes[maker].is("Sigmoid") && graph.nodes[maker].input(0) == id;
}

Range useful_range(const Graph& graph, const Uses& uses, ValueId id) {
  if (uses.is_output[id] || uses.readers[id].empty()) return kEverything;
  Range useful{INFINITY, -INFINITY};
  for (const Uses::Use& use : uses.readers[id]) {
    const Range part = use.input < 0 ? kEverything : told_apart(graph, uses, graph.nodes[use.node], id);
    useful = {std::min(useful.min, part.min), std::max(useful.max, part.max)};
  }
  return useful;
}

void cut_saturated(const Graph& graph, Ranges& ranges) {
  const Uses uses(graph);
  for (auto& [id, range] : ranges) {
    const Range useful = useful_range(graph, uses, id);
    // A value that lies outside altogether keeps one end of what is told apart.
    range = {std::clamp(range.min, useful.min, useful.max), std::clamp(range.max, useful.min, useful.max)};
  }
}

}  // namespace narrow::quantizers::static_int8
