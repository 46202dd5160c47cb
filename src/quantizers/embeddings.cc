#include "quantizers/embeddings.h"

#include <algorithm>
#include <map>

#include "quantizers/rules.h"
#include "quantizers/weights.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

// Tables below this are not worth the extra operators.
constexpr std::int64_t kSmallestTable = 16384;

}  // namespace

bool is_embedding(const Graph& graph, const Node& node, const Tensor& table) {
  return node.is("Gather") && node.get_int("axis", 0) == 0 && table.defined() && table.dtype() == DType::kF32 && table.rank() == 2 &&
         table.size() >= kSmallestTable && graph.value(node.input(1)).type.ranked;
}

std::uint64_t append_embedding(Graph& graph, passes::UniqueNames& names, const Recipe& recipe, const Node& node, const Tensor& table,
                               std::vector<Node>& nodes) {
  const auto emit = [&](const char* op, const std::string& name, std::vector<ValueId> inputs, const Type& type, ValueId output) {
    Node made;
    made.name = name;
    made.op_type = op;
    made.inputs = std::move(inputs);
    made.outputs = {output != graph::kNoValue ? output : graph.add_value(names.make(name), type)};
    nodes.push_back(std::move(made));
    return nodes.back().outputs[0];
  };
  const std::string name = graph.value(node.inputs[0]).name;
  const encodings::AffineGrid grid = recipe.reduce_range ? encodings::AffineGrid{-64, 64, true} : encodings::AffineGrid{-127, 127, true};
  const QuantParams params = weight_params(extremes(table, 0), grid);
  const ValueId codes = graph.add_constant(names.make(name + "_q"), quantize_weight(table, 0, params, grid, DType::kS8));
  graph.value(codes).quant = weight_type(DType::kS8, 0, grid);
  const ValueId scales = graph.add_constant(names.make(name + "_s"), Tensor::from<float>({table.shape()[0], 1}, std::span<const float>(params.scale)));
  const Type real = graph.value(node.outputs[0]).type;
  Type narrow = real, column = real;
  narrow.dtype = DType::kS8;
  if (column.ranked && !column.dims.empty()) column.dims.back() = 1;
  const ValueId rows = emit("Gather", node.name + "_rows", {codes, node.inputs[1]}, narrow, graph::kNoValue);
  const ValueId row_scales = emit("Gather", node.name + "_scales", {scales, node.inputs[1]}, column, graph::kNoValue);
  const ValueId cast = emit("Cast", node.name + "_cast", {rows}, real, graph::kNoValue);
  nodes.back().set("to", std::int64_t{1});
  emit("Mul", node.name, {cast, row_scales}, real, node.outputs[0]);
  return static_cast<std::uint64_t>(table.size()) + 4 * params.scale.size();
}

Status quantize_embeddings(Graph& graph, const Recipe& recipe, std::vector<LayerDecision>& layers) {
  passes::UniqueNames names(graph);
  std::vector<Node> before = std::move(graph.nodes);
  graph.nodes.clear();
  std::vector<Node> after;
  std::map<std::string, std::uint64_t> stored;
  for (Node& node : before) {
    const ValueId id = node.input(0);
    const bool constant = id != graph::kNoValue && passes::is_fixed_constant(graph, id);
    if (constant && is_embedding(graph, node, *graph.constant(id)) && excluded_by(recipe, node.name, node.op_type).empty()) {
      stored[node.name] = append_embedding(graph, names, recipe, node, *graph.constant(id), after);
    } else {
      after.push_back(std::move(node));
    }
  }
  graph.nodes = std::move(after);
  if (stored.empty()) return {};
  for (LayerDecision& layer : layers) {
    const auto found = stored.find(layer.node);
    if (found == stored.end() || layer.op_type != "Gather") continue;
    layer.decision = Decision::kConverted;
    layer.reason = kEmbeddingReason;
    layer.weight_bytes_after = found->second;
  }
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  graph::remove_dead(graph);
  return {};
}

}  // namespace narrow::quantizers
