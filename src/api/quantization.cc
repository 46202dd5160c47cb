#include "api/quantization.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/threads.h"
#include "base/text.h"
#include "base/text_file.h"
#include "datasets/data_care.h"
#include "evaluation/distortion.h"
#include "evaluation/inventory.h"

namespace narrow {
namespace {

constexpr std::size_t kSourcesShown = 40;

// A pattern that excludes nothing is a typing error that would go unnoticed.
void warn_unmatched(const QuantizeOptions& options, const graph::Graph& graph, std::vector<std::string>& warnings) {
  for (const std::string& pattern : options.exclude) {
    const bool by_type = pattern.rfind("type:", 0) == 0;
    const bool matched = std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const graph::Node& node) {
      return by_type ? base::glob_match(pattern.substr(5), node.op_type) : base::glob_match(pattern, node.name);
    });
    if (!matched) warnings.push_back(fmt::format("--exclude '{}' matches no {}", pattern, by_type ? "operator type" : "node name"));
  }
}

std::string decision_name(quantizers::Decision decision) {
  switch (decision) {
    case quantizers::Decision::kQuantized: return "quantized";
    case quantizers::Decision::kDynamic: return "dynamic";
    case quantizers::Decision::kConverted: return "converted";
    case quantizers::Decision::kFolded: return "folded";
    case quantizers::Decision::kFloat: break;
  }
  return "float";
}

void measure(const Model& model, const Data* data, const QuantizeOptions& options,
             const evaluation::Correspondence& correspondence, Quantization& result) {
  std::optional<Data> inputs;
  if (data != nullptr) {
    inputs = data->take(options.distortion_samples);
    result.distortion_note = fmt::format("{} of the calibration samples", inputs->size());
  } else {
    auto synthetic = Data::synthetic(model, options.distortion_samples, options.seed.value_or(0));
    if (!synthetic.ok()) {
      result.distortion_note = synthetic.error().message();
      return;
    }
    inputs = *std::move(synthetic);
    result.distortion_note = fmt::format("{} random inputs: give --data for figures that mean more", inputs->size());
  }
  evaluation::DistortionRequest request;
  request.reference = &model.impl().model.graph;
  request.quantized = &result.model.impl().model.graph;
  request.correspondence = correspondence;
  request.histograms = options.histograms;
  request.sweep = {resolve_threads(options.threads), "comparing layers", options.progress};
  auto report = evaluation::measure_distortion(request, *inputs->impl().samples);
  if (!report.ok()) {
    result.distortion_note = report.error().message();
    result.warnings.push_back("the cost of quantization could not be measured: " + report.error().message() +
                              (data == nullptr ? "; real inputs given with --data may run" : ""));
    return;
  }
  result.distortion = std::move(report->layers);
  result.histograms = std::move(report->histograms);
  result.outputs = report->outputs;
}

// Ranges that still grow by more than this with the second half of the samples want more of them.
constexpr double kSettled = 0.95;

void describe_calibration(const std::vector<calibration::Convergence>& convergence, const std::vector<calibration::OutlierSample>& outliers, Quantization& result) {
  for (const calibration::Convergence& point : convergence) result.trail.convergence.push_back({point.samples, point.coverage});
  for (const calibration::OutlierSample& sample : outliers) {
    result.warnings.push_back(fmt::format("calibration sample '{}' alone stretches {} range(s), by up to {:.1f} times: leave it out if it is not typical, or use another observer than min_max",
                                          base::escape_controls(sample.name), sample.values, sample.factor));
  }
  if (convergence.size() < 3) return;
  const calibration::Convergence& before = convergence[convergence.size() - 2];
  if (before.coverage < kSettled && before.samples * 2 <= convergence.back().samples) {
    result.warnings.push_back(fmt::format("ranges still grew after {} of {} calibration samples: they covered {:.0f} % by then; give more", before.samples,
                                          convergence.back().samples, 100 * before.coverage));
  }
}

}  // namespace

Status refuse_quantized(const Model& model) {
  if (!evaluation::is_quantized(model.impl().typed().graph)) return {};
  return invalid_argument("the model is quantized already").hint("quantize the float model it was made from; quantizing twice only adds error");
}

Result<quantizers::Recipe> make_recipe(const QuantizeOptions& options, const Data* data) {
  quantizers::Recipe recipe;
  recipe.method = "auto";
  if (!options.recipe_file.empty()) {
    NARROW_TRY(const std::string text, base::read_text_file(options.recipe_file));
    NARROW_TRY(recipe, quantizers::parse_recipe(text, options.recipe_file));
  } else if (!options.recipe.empty()) {
    NARROW_TRY(recipe, quantizers::parse_recipe(options.recipe, "the recipe given"));
  }
  if (options.method) recipe.method = *options.method;
  if (options.target) recipe.target = *options.target;
  if (options.form) recipe.form = *options.form;
  if (options.observer) recipe.observer = *options.observer;
  if (options.percentile) recipe.percentile = *options.percentile;
  if (options.per_channel) recipe.per_channel = *options.per_channel;
  if (options.symmetric) recipe.symmetric_activations = recipe.weights.symmetric = *options.symmetric;
  if (options.bits) recipe.weights.bits = *options.bits;
  if (options.group_size) recipe.weights.group_size = *options.group_size;
  if (options.samples) recipe.samples = *options.samples;
  if (options.seed) recipe.seed = *options.seed;
  if (data != nullptr && !data->preprocess().empty()) recipe.preprocess = data->preprocess();
  for (const std::string& pattern : options.exclude) {
    quantizers::Rule rule;
    rule.quantize = false;
    if (pattern.rfind("type:", 0) == 0) rule.op_type = pattern.substr(5);
    else rule.name_pattern = pattern;
    recipe.rules.push_back(std::move(rule));
  }
  constexpr std::array<std::string_view, 2> kForms = {"qdq", "qoperator"};
  if (std::find(kForms.begin(), kForms.end(), recipe.form) == kForms.end()) {
    return invalid_argument(fmt::format("there is no form '{}', expected 'qdq' or 'qoperator'{}", recipe.form,
                                        base::did_you_mean(recipe.form, kForms)));
  }
  return recipe;
}

Result<std::vector<std::string>> check_calibration_data(const Data& data) {
  datasets::DataCareOptions options;
  NARROW_TRY(options.preprocess, datasets::parse_preprocess(data.preprocess()));
  NARROW_TRY(const std::vector<datasets::DataWarning> found, datasets::check_data(*data.impl().samples, options));
  std::vector<std::string> warnings;
  for (const datasets::DataWarning& warning : found) warnings.push_back("calibration data: " + warning.message);
  return warnings;
}

Quantization describe_outcome(const Model& model, const Data* calibration, const QuantizeOptions& options, const quantizers::Recipe& recipe,
                              quantizers::Outcome outcome) {
  const bool calibrated = outcome.calibration.samples != 0;
  const std::vector<calibration::Convergence> convergence = outcome.calibration.convergence;
  const std::vector<calibration::OutlierSample> outliers = outcome.calibration.outliers;
  Quantization result{Model(std::make_shared<const Model::Impl>(std::move(outcome.model)))};
  result.method = recipe.method;
  result.target = recipe.target;
  result.observer = calibrated ? recipe.observer : "";
  result.form = recipe.form;
  result.recipe = quantizers::to_toml(outcome.recipe.value_or(recipe));
  result.warnings = std::move(outcome.warnings);
  result.calibration_samples = outcome.calibration.samples;
  if (calibrated && calibration != nullptr) result.calibration_data = calibration->describe();
  for (quantizers::LayerDecision& layer : outcome.layers) {
    result.layers.push_back({std::move(layer.node), std::move(layer.op_type), decision_name(layer.decision),
                             std::move(layer.reason), layer.weight_bytes_before, layer.weight_bytes_after});
  }
  warn_unmatched(options, model.impl().model.graph, result.warnings);
  if (options.distortion_samples != 0) {
    measure(model, calibration, options, outcome.correspondence, result);
  }
  describe_calibration(convergence, outliers, result);
  describe_mixed(model.impl().typed().graph, outcome.sensitivity, outcome.frontier, outcome.chosen, result.trail);
  return result;
}

void describe_mixed(const graph::Graph& reference, const std::vector<quantizers::NoiseSource>& sources, const std::vector<quantizers::FrontierPoint>& frontier,
                    std::size_t chosen, Trail& trail) {
  const graph::Uses uses(reference);
  for (const quantizers::NoiseSource& source : sources) {
    LayerSensitivity entry{source.node, source.value, source.noise};
    const graph::ValueId id = source.value.empty() ? graph::kNoValue : reference.find_value(source.value);
    if (id != graph::kNoValue && uses.producer[id] >= 0) entry.layer = reference.nodes[uses.producer[id]].name;
    else if (!source.value.empty()) entry.layer = source.value;
    trail.sensitivity.push_back(std::move(entry));
  }
  std::stable_sort(trail.sensitivity.begin(), trail.sensitivity.end(), [](const auto& a, const auto& b) { return a.noise > b.noise; });
  trail.sensitivity.resize(std::min(trail.sensitivity.size(), kSourcesShown));
  for (std::size_t i = 0; i < frontier.size(); ++i) {
    const quantizers::FrontierPoint& point = frontier[i];
    trail.pareto.push_back({point.lifted.size(), point.integer_share, point.weight_bytes, point.noise, point.measured, i == chosen});
  }
}

}  // namespace narrow
