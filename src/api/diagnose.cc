#include "narrow/diagnose.h"

#include <algorithm>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/threads.h"
#include "diagnosis/diagnosis.h"
#include "operators/infer.h"
#include "passes/passes.h"
#include "passes/qoperator_to_qdq.h"
#include "quantizers/preparation.h"
#include "quantizers/recipe.h"

namespace narrow {
namespace {

Result<graph::Graph> typed(graph::Graph graph) {
  NARROW_TRY([[maybe_unused]] const operators::Inference inference, operators::infer_types(graph));
  return graph;
}

}  // namespace

Result<Diagnosis> diagnose(const Model& reference, const Model& quantized, const Data& data, const DiagnoseOptions& options) {
  NARROW_TRY(const quantizers::Prepared prepared, quantizers::prepare_model(reference.impl().model));
  graph::Graph made = quantized.impl().typed().graph.clone();
  // Some quantizers leave BatchNormalization beside the layer: its weights are then those of the model as it was.
  const bool folded = std::none_of(made.nodes.begin(), made.nodes.end(), [](const graph::Node& node) { return node.is("BatchNormalization"); });
  NARROW_TRY(const graph::Graph original, folded ? typed(prepared.model.graph.clone()) : Result<graph::Graph>(reference.impl().typed().graph.clone()));
  NARROW_TRY([[maybe_unused]] const int rewritten, passes::qoperator_to_qdq(made));
  NARROW_TRY(made, typed(std::move(made)));

  diagnosis::DiagnosisRequest request;
  request.reference = &original;
  request.quantized = &made;
  request.data = data.impl().samples;
  request.sweep = {resolve_threads(options.threads), "comparing outputs", options.progress};
  std::string target = options.target;
  if (target.empty()) {
    const std::string recipe = quantized.info().recipe;
    if (!recipe.empty()) {
      NARROW_TRY(const quantizers::Recipe parsed, quantizers::parse_recipe(recipe, "the recipe in the quantized model"));
      target = parsed.target;
    }
  }
  if (!target.empty()) {
    NARROW_TRY(request.target, targets::find_target(target));
  }
  return diagnosis::diagnose(request);
}

QuantizeOptions mending_options(const Diagnosis& diagnosis, const Model& quantized) {
  QuantizeOptions options;
  options.recipe = quantized.info().recipe;
  if (options.recipe.empty()) options.method = "static";
  for (const Finding& finding : diagnosis.findings) {
    if (finding.cause == "per_tensor_weights") options.per_channel = true;
    if (finding.cause == "calibration_too_narrow") options.observer = "min_max";
    if (finding.cause == "outlier_channels" || finding.cause == "accumulator_overflow") {
      for (const std::string& layer : finding.excluded) options.exclude.push_back(layer);
    }
  }
  return options;
}

}  // namespace narrow
