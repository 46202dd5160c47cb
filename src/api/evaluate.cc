#include "narrow/evaluate.h"

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/threads.h"
#include "evaluation/accuracy.h"
#include "evaluation/distortion.h"

namespace narrow {

Result<std::vector<Metrics>> evaluate(const std::vector<Model>& models, const Data& data, const EvaluateOptions& options) {
  std::vector<const graph::Graph*> graphs;
  for (const Model& model : models) graphs.push_back(&model.impl().model.graph);
  const evaluation::SweepOptions sweep{resolve_threads(options.threads), "evaluating", options.progress};
  return evaluation::measure_metrics(graphs, *data.impl().samples, sweep);
}

Result<Metrics> evaluate(const Model& model, const Data& data, const EvaluateOptions& options) {
  NARROW_TRY(const std::vector<Metrics> metrics, evaluate(std::vector<Model>{model}, data, options));
  return metrics.front();
}

Result<Distortion> layer_distortion(const Model& reference, const Model& quantized, const Data& data,
                                    std::uint64_t histograms, const EvaluateOptions& options) {
  evaluation::DistortionRequest request;
  request.reference = &reference.impl().model.graph;
  request.quantized = &quantized.impl().model.graph;
  request.correspondence = evaluation::match_by_name(*request.reference, *request.quantized);
  request.histograms = histograms;
  request.sweep = {resolve_threads(options.threads), "comparing layers", options.progress};
  NARROW_TRY(evaluation::DistortionReport report, evaluation::measure_distortion(request, *data.impl().samples));
  return Distortion{std::move(report.layers), std::move(report.histograms)};
}

}  // namespace narrow
