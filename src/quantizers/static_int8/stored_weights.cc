#include "quantizers/static_int8/stored_weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "passes/edit.h"
#include "quantizers/float16/halves.h"
#include "quantizers/rules.h"
#include "quantizers/static_int8/parameters.h"
#include "quantizers/weights.h"

namespace narrow::quantizers::static_int8 {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

// Constants below this are not worth a node each.
constexpr std::int64_t kSmallestStored = 256;

bool fits_half(const Tensor& weight) {
  const std::span<const float> data = weight.data<float>();
  return std::all_of(data.begin(), data.end(), [](float x) { return std::abs(x) <= float16::kLargestHalf; });
}

}  // namespace

void store_float_weights(Graph& graph, const Plan& plan, const Recipe& recipe, passes::QdqPlan& parameters,
                         std::vector<LayerDecision>& decided) {
  const graph::Uses uses(graph);
  std::set<ValueId> taken;
  for (const passes::ConstantQdq& constant : parameters.constants) taken.insert(constant.value);
  const std::size_t nodes = graph.nodes.size();
  for (std::size_t n = 0; n < nodes; ++n) {
    const NodePlan& own = plan.nodes[n];
    if (own.quantized || own.role != operators::QuantRole::kCompute || own.op->quant.weight_input < 0) continue;
    const std::string as = float_weights_choice(recipe, graph.nodes[n].name, graph.nodes[n].op_type);
    const auto input = static_cast<std::size_t>(own.op->quant.weight_input);
    const ValueId id = graph.nodes[n].input(input);
    if (as == "f32" || !passes::is_fixed_constant(graph, id) || taken.contains(id)) continue;
    const Tensor weight = *graph.constant(id);
    if (weight.dtype() != DType::kF32 || weight.size() < kSmallestStored) continue;
    std::vector<passes::Reader> readers;
    for (const graph::Uses::Use& use : uses.readers[id]) {
      if (use.input >= 0) readers.push_back({use.node, use.input});
    }
    taken.insert(id);
    LayerDecision& layer = decided[n];
    if (as == "s8") {
      layer.weight_bytes_after = static_cast<std::uint64_t>(weight.size());
      layer.reason += "; its weights are stored as s8";
      const int axis = own.op->quant.weight_axis == nullptr ? -1 : own.op->quant.weight_axis(graph.nodes[n], weight.rank());
      const encodings::AffineGrid grid = weight_grid(*plan.target, recipe);
      const QuantParams params = weight_params(extremes(weight, axis), grid);
      parameters.constants.push_back({id, weight_type(DType::kS8, axis, grid), params, quantize_weight(weight, axis, params, grid, DType::kS8), readers});
    } else if (fits_half(weight)) {
      layer.weight_bytes_after = 2 * static_cast<std::uint64_t>(weight.size());
      layer.reason += "; its weights are stored as f16";
      const std::string name = graph.value(id).name;
      const graph::Type type = graph.value(id).type;
      Node cast;
      cast.name = graph.unique_node_name(name + "_cast");
      cast.op_type = "Cast";
      cast.inputs = {graph.add_constant(name + "_f16", float16::to_half(weight, DType::kF16))};
      cast.outputs = {graph.add_value(name + "_f32", type)};
      cast.set("to", std::int64_t{1});
      for (const passes::Reader& reader : readers) graph.nodes[reader.node].inputs[reader.input] = cast.outputs[0];
      graph.nodes.push_back(std::move(cast));
    }
  }
}

}  // namespace narrow::quantizers::static_int8
