#include "quantizers/dynamic_int8/dynamic_int8.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/infer.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "quantizers/dynamic_int8/rewriter.h"
#include "quantizers/preparation.h"
#include "targets/target.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::ValueId;

// Enclosing graphs, outermost first.
using Scope = std::vector<const Graph*>;

Tensor find_constant(const Scope& scope, const Graph& graph, ValueId id) {
  if (id == graph::kNoValue) return {};
  if (passes::is_fixed_constant(graph, id)) return *graph.constant(id);
  const graph::Value& value = graph.value(id);
  if (!value.captured) return {};
  for (auto outer = scope.rbegin(); outer != scope.rend(); ++outer) {
    const ValueId there = (*outer)->find_value(value.name);
    if (there == graph::kNoValue) continue;
    if (passes::is_fixed_constant(**outer, there)) return *(*outer)->constant(there);
    if (!(*outer)->value(there).captured) return {};
  }
  return {};
}

// Depth first, so that captured constants are still there while the bodies are rewritten.
Status rewrite(Graph& graph, Scope& scope, const targets::Target& target, const Recipe& recipe,
               passes::UniqueNames& names, std::vector<LayerDecision>& layers, bool& contributed) {
  scope.push_back(&graph);
  Status status;
  for (graph::Node& node : graph.nodes) {
    passes::for_each_subgraph(node, [&](Graph& body) {
      if (status.ok()) status = rewrite(body, scope, target, recipe, names, layers, contributed);
    });
  }
  scope.pop_back();
  NARROW_RETURN_IF_ERROR(std::move(status));
  dynamic_int8::Rewriter rewriter(graph, target, recipe, names, [&](const Graph& g, ValueId id) { return find_constant(scope, g, id); });
  NARROW_RETURN_IF_ERROR(rewriter.run(layers));
  contributed = contributed || rewriter.used_contributed_operators();
  return {};
}

}  // namespace

Result<Outcome> quantize_dynamic(const Request& request) {
  const Recipe& recipe = request.recipe;
  NARROW_TRY(const targets::Target* target, targets::find_target(recipe.target));
  if (target->activation.symmetric) {
    return unsupported(fmt::format("{} does not run dynamically quantized activations", target->name)).hint("use --method static with calibration data");
  }
  NARROW_TRY(Prepared prepared, prepare_model(*request.model));
  Graph& graph = prepared.model.graph;
  NARROW_TRY(const int factors, passes::fold_gemm_factors(graph));
  (void)factors;

  Outcome outcome;
  outcome.warnings = std::move(prepared.warnings);
  std::vector<LayerDecision> decided;
  bool contributed = false;
  Scope scope;
  passes::UniqueNames names(graph);
  NARROW_RETURN_IF_ERROR(rewrite(graph, scope, *target, recipe, names, decided, contributed));
  NARROW_RETURN_IF_ERROR(graph::verify(graph, "the quantized graph"));
  // DynamicQuantizeLSTM gives f32 where nothing was known of the LSTM; readers do not know its outputs unless told.
  NARROW_TRY(const operators::Inference types, operators::infer_types(graph));
  (void)types;
  const bool any = std::any_of(decided.begin(), decided.end(), [](const LayerDecision& l) { return l.decision != Decision::kFloat; });
  if (!any && !recipe.compress_weights) {
    // Nothing gains speed, as in a convolutional model; a file of a quarter of the size is still worth having.
    Request smaller = request;
    smaller.recipe.compress_weights = true;
    NARROW_TRY(Outcome compressed, quantize_dynamic(smaller));
    compressed.warnings.push_back("no layer of this model gains speed from dynamic quantization (it has no large MatMul, Gemm or LSTM): its weights are "
                                  "stored as s8, it computes in float and may run slower than before; the static method makes convolutions faster");
    return compressed;
  }
  if (!any) {
    return unsupported("no layer of this model has constant weights of useful size for dynamic quantization")
        .hint("use --method static for convolutional models");
  }
  const auto convolutions = std::count_if(decided.begin(), decided.end(), [](const LayerDecision& l) { return l.op_type == "Conv" && l.decision == Decision::kFloat; });
  if (convolutions > 0) {
    outcome.warnings.push_back(fmt::format("{} convolution(s) stay float: the dynamic method would make them slower; the static method quantizes them", convolutions));
  }
  if (contributed) prepared.model.opsets["com.microsoft"] = 1;
  outcome.layers = decisions_for(request.model->graph, std::move(decided));
  outcome.correspondence = same_named_values(request.model->graph, graph);
  outcome.model = std::move(prepared.model);
  record(outcome.model, recipe);
  return outcome;
}

}  // namespace narrow::quantizers
