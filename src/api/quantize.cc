#include "narrow/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "api/data_impl.h"
#include "api/model_impl.h"
#include "api/threads.h"
#include "base/text.h"
#include "base/text_file.h"
#include "datasets/data_care.h"
#include "evaluation/distortion.h"
#include "quantizers/quantizer.h"
#include "quantizers/recipe.h"

namespace narrow {
namespace {

struct Choice {
  std::string method, reason;
};

// Where the weights are decides: convolutions gain from static ranges, recurrent and purely matrix models from dynamic
// ones, which need no data and stand variable lengths.
Result<Choice> choose_method(const graph::Graph& graph, bool has_data) {
  std::uint64_t convolution = 0, matrix = 0, recurrent = 0;
  for (const graph::Node& node : graph.nodes) {
    std::uint64_t bytes = 0;
    for (const graph::ValueId id : node.inputs) {
      if (const Tensor* constant = graph.constant(id)) bytes += constant->bytes();
    }
    if (node.is("Conv") || node.is("ConvTranspose")) convolution += bytes;
    if (node.is("MatMul") || node.is("Gemm")) matrix += bytes;
    if (node.is("LSTM") || node.is("GRU") || node.is("RNN")) recurrent += bytes;
  }
  if (recurrent != 0) return Choice{"dynamic", "the model is recurrent: its states have no fixed ranges"};
  if (convolution == 0 && matrix != 0) {
    return Choice{"dynamic", "the weights are in matrix products: ranges taken at run time cost little there"};
  }
  if (has_data) return Choice{"static", "the model is convolutional and there are calibration data"};
  if (convolution == 0) {
    return unsupported("the model has no convolution, matrix product or recurrent layer with weights: nothing to gain by quantizing")
        .hint("Use --method fp16 to halve what is stored.");
  }
  return invalid_argument("the model is convolutional: INT8 needs calibration data to choose its ranges")
      .hint("Give some typical inputs with --data; or use --method fp16, which needs none.");
}

// The recipe file, and what the options say over it. `method` may still be "auto".
Result<quantizers::Recipe> make_recipe(const QuantizeOptions& options, const Data* data) {
  quantizers::Recipe recipe;
  recipe.method = "auto";
  if (!options.recipe_file.empty()) {
    NARROW_TRY(const std::string text, base::read_text_file(options.recipe_file));
    NARROW_TRY(recipe, quantizers::parse_recipe(text, options.recipe_file));
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

// Bad numbers end the work before it starts; what merely looks wrong becomes a warning.
Result<std::vector<std::string>> check_calibration_data(const Data& data) {
  datasets::DataCareOptions options;
  NARROW_TRY(options.preprocess, datasets::parse_preprocess(data.preprocess()));
  NARROW_TRY(const std::vector<datasets::DataWarning> found, datasets::check_data(*data.impl().samples, options));
  std::vector<std::string> warnings;
  for (const datasets::DataWarning& warning : found) warnings.push_back("calibration data: " + warning.message);
  return warnings;
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

}  // namespace

Result<Quantization> quantize(const Model& model, const Data* data, const QuantizeOptions& options) {
  NARROW_TRY(quantizers::Recipe recipe, make_recipe(options, data));
  std::string reason;
  if (recipe.method == "auto") {
    NARROW_TRY(Choice choice, choose_method(model.impl().model.graph, data != nullptr));
    recipe.method = choice.method;
    reason = choice.reason;
  }
  NARROW_TRY(const quantizers::Quantizer* quantizer, quantizers::find_quantizer(recipe.method));
  if (quantizer->needs_data && data == nullptr) {
    return invalid_argument(fmt::format("method '{}' needs calibration data", recipe.method))
        .hint("Give some typical inputs with --data; `narrow list methods` shows what each method needs.");
  }

  // The calibration subset; distortion is measured on some of the same samples.
  std::optional<Data> calibration;
  if (data != nullptr) calibration = recipe.samples != 0 ? data->take(recipe.samples) : *data;
  std::vector<std::string> data_warnings;
  if (quantizer->needs_data) {
    NARROW_TRY(data_warnings, check_calibration_data(*calibration));
  }

  quantizers::Request request;
  request.model = &model.impl().model;
  request.recipe = recipe;
  request.data = calibration ? calibration->impl().samples.get() : nullptr;
  request.threads = resolve_threads(options.threads);
  request.progress = options.progress;
  NARROW_TRY(quantizers::Outcome outcome, quantizer->run(request));

  const bool calibrated = outcome.calibration.samples != 0;
  Quantization result{Model(std::make_shared<const Model::Impl>(std::move(outcome.model)))};
  result.method = recipe.method;
  result.method_reason = reason;
  result.target = recipe.target;
  result.observer = calibrated ? recipe.observer : "";
  result.form = recipe.form;
  result.recipe = quantizers::to_toml(recipe);
  result.warnings = std::move(outcome.warnings);
  result.calibration_samples = outcome.calibration.samples;
  if (calibrated) result.calibration_data = calibration->describe();
  for (quantizers::LayerDecision& layer : outcome.layers) {
    result.layers.push_back({std::move(layer.node), std::move(layer.op_type), decision_name(layer.decision),
                             std::move(layer.reason), layer.weight_bytes_before, layer.weight_bytes_after});
  }
  result.warnings.insert(result.warnings.begin(), data_warnings.begin(), data_warnings.end());
  warn_unmatched(options, model.impl().model.graph, result.warnings);
  if (options.distortion_samples != 0) {
    measure(model, calibration ? &*calibration : nullptr, options, outcome.correspondence, result);
  }
  return result;
}

}  // namespace narrow
