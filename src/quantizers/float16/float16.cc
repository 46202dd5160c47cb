#include "quantizers/float16/float16.h"

#include <fmt/format.h>

#include <algorithm>

#include "passes/edit.h"
#include "quantizers/float16/halves.h"
#include "quantizers/preparation.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::ValueId;

// Constants below this are not worth a Cast node each.
constexpr std::int64_t kSmallestStored = 256;

Result<Outcome> finish(const Request& request, Prepared prepared, std::vector<LayerDecision> decided) {
  Outcome outcome;
  outcome.warnings = std::move(prepared.warnings);
  Graph& graph = prepared.model.graph;
  NARROW_RETURN_IF_ERROR(graph::verify(graph, "the converted graph"));
  if (std::none_of(decided.begin(), decided.end(), [](const LayerDecision& layer) { return layer.decision == Decision::kConverted; })) {
    return unsupported(fmt::format("no layer of this model gains from {}{}", request.recipe.method,
                                   decided.empty() ? "" : fmt::format(" ({}: {})", decided[0].op_type, decided[0].reason)));
  }
  outcome.layers = decisions_for(request.model->graph, std::move(decided));
  outcome.correspondence = same_named_values(request.model->graph, graph);
  outcome.model = std::move(prepared.model);
  record(outcome.model, request.recipe);
  return outcome;
}

// Large f32 constants become bf16 with a Cast back, which runtimes fold when they load the model.
void store_bf16(Graph& graph, passes::UniqueNames& names, std::vector<LayerDecision>& layers) {
  for (graph::Node& node : graph.nodes) {
    passes::for_each_subgraph(node, [&](Graph& body) { store_bf16(body, names, layers); });
    LayerDecision layer;
    layer.node = node.name;
    layer.op_type = node.op_type;
    layer.reason = "it has no large weights";
    for (ValueId id : node.inputs) {
      const Tensor* tensor = graph.constant(id);
      if (tensor == nullptr || tensor->dtype() != DType::kF32) continue;
      layer.weight_bytes_before += tensor->bytes();
      const bool stored = tensor->size() >= kSmallestStored;
      layer.weight_bytes_after += stored ? tensor->bytes() / 2 : tensor->bytes();
      if (!stored) continue;
      layer.decision = Decision::kConverted;
      layer.reason = "weights are stored as bf16; it computes in f32";
    }
    layers.push_back(std::move(layer));
  }
  const std::size_t values = graph.values.size();
  std::vector<graph::Node> casts;
  for (std::size_t v = 0; v < values; ++v) {
    const auto id = static_cast<ValueId>(v);
    const Tensor* tensor = graph.constant(id);
    if (tensor == nullptr || tensor->dtype() != DType::kF32 || tensor->size() < kSmallestStored) continue;
    const ValueId stored = graph.add_constant(names.make(graph.values[v].name + "_bf16"), float16::to_half(*tensor, DType::kBF16));
    graph.values[v].constant.reset();
    graph::Node cast;
    cast.name = graph.values[v].name + "_cast";
    cast.op_type = "Cast";
    cast.inputs = {stored};
    cast.outputs = {id};
    cast.set("to", std::int64_t{1});
    casts.push_back(std::move(cast));
  }
  graph.nodes.insert(graph.nodes.begin(), std::make_move_iterator(casts.begin()), std::make_move_iterator(casts.end()));
}

// A value whose type is not known may be f32.
bool holds_f32(Graph& graph) {
  bool found = false;
  for (const graph::Value& value : graph.values) found = found || value.type.dtype == DType::kF32 || (!value.constant && value.type.dtype == DType::kUndefined);
  for (graph::Node& node : graph.nodes) passes::for_each_subgraph(node, [&](Graph& body) { found = found || holds_f32(body); });
  return found;
}

}  // namespace

Result<Outcome> quantize_fp16(const Request& request) {
  NARROW_TRY(Prepared prepared, prepare_model(*request.model));
  if (!holds_f32(prepared.model.graph)) return unsupported("no value of this model is f32: there is nothing to convert to f16");
  std::vector<LayerDecision> decided;
  passes::UniqueNames names(prepared.model.graph);
  float16::Converter converter(prepared.model.graph, request.recipe, names, {}, request.recipe.keep_io_float);
  NARROW_RETURN_IF_ERROR(converter.run(decided));
  return finish(request, std::move(prepared), std::move(decided));
}

Result<Outcome> quantize_bf16(const Request& request) {
  NARROW_TRY(Prepared prepared, prepare_model(*request.model));
  std::vector<LayerDecision> decided;
  passes::UniqueNames names(prepared.model.graph);
  store_bf16(prepared.model.graph, names, decided);
  return finish(request, std::move(prepared), std::move(decided));
}

}  // namespace narrow::quantizers
