#include "quantizers/static_int8/static_int8.h"

#include <fmt/format.h>

#include <map>

#include "base/text.h"
#include "calibration/calibrator.h"
#include "calibration/observers/observer.h"
#include "operators/infer.h"
#include "passes/passes.h"
#include "passes/qdq_to_qoperator.h"
#include "quantizers/embeddings.h"
#include "quantizers/equalization/equalization.h"
#include "quantizers/preparation.h"
#include "quantizers/smoothing/smoothing.h"
#include "quantizers/static_int8/bias_correction.h"
#include "quantizers/static_int8/data_free.h"
#include "quantizers/static_int8/parameters.h"
#include "quantizers/static_int8/plan.h"
#include "quantizers/static_int8/saturation.h"
#include "quantizers/static_int8/stored_weights.h"
#include "targets/fusion.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;
using static_int8::Plan;
using static_int8::Observed;

Status check_recipe(const Recipe& recipe, const targets::Target& target) {
  if (recipe.form != "qdq" && recipe.form != "qoperator") {
    return invalid_argument(fmt::format("form '{}' is not known", base::escape_controls(recipe.form))).hint("forms: qdq, qoperator");
  }
  if (recipe.form == "qoperator" && !target.qoperator_form) {
    return unsupported(fmt::format("{} does not read the qoperator form", target.name)).hint("use --form qdq");
  }
  const auto check = [&](DType type, bool symmetric, std::string_view where) -> Status {
    if (type != DType::kU8 && type != DType::kS8) {
      return unsupported(fmt::format("{}: activation type {} is not supported by static INT8", where, to_string(type))).hint("use u8 or s8");
    }
    if (target.activation.symmetric && (!symmetric || type != DType::kS8)) {
      return unsupported(fmt::format("{}: {} takes s8 activations with zero point 0 only, the recipe asks for {} {}", where,
                                     target.name, symmetric ? "symmetric" : "asymmetric", to_string(type)))
          .hint("leave activation_type and symmetric_activations to the target");
    }
    return {};
  };
  const DType type = recipe.activation_type.value_or(target.activation.storage_type);
  const bool symmetric = recipe.symmetric_activations.value_or(target.activation.symmetric);
  NARROW_RETURN_IF_ERROR(check(type, symmetric, "recipe"));
  NARROW_TRY(const calibration::Observer* observer, calibration::find_observer(recipe.observer));
  (void)observer;
  for (const Rule& rule : recipe.rules) {
    NARROW_RETURN_IF_ERROR(check(rule.activation_type.value_or(type), rule.symmetric_activations.value_or(symmetric),
                                 fmt::format("rule for '{}'", rule.name_pattern)));
    if (rule.observer) {
      NARROW_TRY(const calibration::Observer* other, calibration::find_observer(*rule.observer));
      (void)other;
    }
  }
  return {};
}

Status something_to_do(const Graph& graph, const Plan& plan) {
  std::map<std::string, int> reasons;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (plan.nodes[n].quantized && plan.nodes[n].role == operators::QuantRole::kCompute) return {};
    if (!plan.nodes[n].reason.empty()) ++reasons[fmt::format("{}: {}", graph.nodes[n].op_type, plan.nodes[n].reason)];
  }
  std::string most;
  int count = 0;
  for (const auto& [reason, times] : reasons) {
    if (times > count) most = reason, count = times;
  }
  return unsupported(fmt::format("no layer of this model can compute in integers on {} ({})", plan.target->name,
                                 most.empty() ? "it has no Conv, Gemm or MatMul" : most))
      .hint("try --method dynamic or --method fp16");
}

Result<Observed> observe(const Graph& graph, const Plan& plan, const calibration::CalibrationTable& table,
                         const Recipe& recipe, std::vector<std::string>& warnings) {
  Observed observed;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    const static_int8::ValuePlan& value = plan.values[v];
    if (graph.values[v].constant) continue;
    const std::string& name = graph.values[v].name;
    const calibration::ValueStatistics* seen = table.find(name);
    if (seen != nullptr && seen->count > 0) observed.power[static_cast<ValueId>(v)] = seen->sum_squares / static_cast<double>(seen->count);
    if (!value.quantized) continue;
    if (seen == nullptr) return internal_error(fmt::format("calibration has no statistics of '{}'", name));
    if (seen->non_finite > 0) {
      warnings.push_back(fmt::format("'{}' held {} NaN or infinite value(s) during calibration, first in sample {}; they were left out of its range",
                                     base::escape_controls(name), seen->non_finite, base::escape_controls(seen->first_non_finite)));
    }
    if (seen->count == 0 && seen->non_finite == 0) {  // it never held an element: any range will do
      observed.ranges[static_cast<ValueId>(v)] = {};
      continue;
    }
    if (seen->count == 0) {
      return invalid_argument(fmt::format("calibration saw no finite value of '{}'", base::escape_controls(name)))
          .hint("the model computes NaN on this data: check --preprocess, or exclude the node that makes it");
    }
    NARROW_TRY(const calibration::Observer* observer, calibration::find_observer(seen->histogram.counts.empty() && table.samples == 0 ? "min_max" : value.observer));
    const calibration::ObserverOptions options{recipe.percentile, static_int8::activation_grid(value.storage_type, value.symmetric)};
    observed.ranges[static_cast<ValueId>(v)] = observer->choose(*seen, options);
  }
  static_int8::cut_saturated(graph, observed.ranges);
  return observed;
}

// Drops each folded Relu or Clip: the layer before it writes its output. Node indices stay as they are.
void drop_folded(Graph& graph, const Plan& plan) {
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    const int activation = plan.nodes[n].folds;
    if (activation < 0) continue;
    Node& dropped = graph.nodes[activation];
    graph.nodes[n].outputs[0] = dropped.outputs[0];
    dropped.inputs.clear();
    dropped.outputs.clear();
  }
}

// Every reader of the file derives types by itself; those that the model did not state make small files larger.
void forget_derived_types(const Graph& original, Graph& graph) {
  std::vector<bool> stated(graph.values.size(), false);
  for (ValueId id : graph.inputs) stated[id] = true;
  for (ValueId id : graph.outputs) stated[id] = true;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    graph::Value& value = graph.values[v];
    const ValueId before = original.find_value(value.name);
    if (!stated[v] && !value.constant && (before == kNoValue || original.value(before).type.dtype == DType::kUndefined)) value.type = {};
  }
}

std::vector<LayerDecision> decide(const Graph& graph, const Plan& plan, const passes::QdqPlan& written) {
  std::map<int, std::uint64_t> bytes;
  for (const passes::ConstantQdq& constant : written.constants) {
    for (const passes::Reader& reader : constant.readers) bytes[reader.node] += constant.codes.bytes() + 4 * constant.params.scale.size();
  }
  std::vector<LayerDecision> layers;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const static_int8::NodePlan& own = plan.nodes[n];
    LayerDecision layer;
    layer.node = graph.nodes[n].name;
    layer.op_type = graph.nodes[n].op_type;
    layer.decision = own.folded ? Decision::kFolded : own.quantized ? Decision::kQuantized : Decision::kFloat;
    layer.reason = own.folded ? "expressed by the range of the layer before it" : own.reason;
    layer.weight_bytes_before = weight_bytes(graph, graph.nodes[n]);
    const auto it = bytes.find(static_cast<int>(n));
    layer.weight_bytes_after = it != bytes.end() ? it->second : layer.weight_bytes_before;
    layers.push_back(std::move(layer));
  }
  return layers;
}

// Whether a table of an earlier run can stand for calibrating again.
bool holds_all(const calibration::CalibrationTable& table, const calibration::CalibrateOptions& options, bool histograms) {
  for (const std::string& name : options.values) {
    const calibration::ValueStatistics* seen = table.find(name);
    if (seen == nullptr || (histograms && seen->count > 0 && seen->histogram.counts.empty())) return false;
    if (options.channel_axes.contains(name) && seen->channel_sums.empty() && !seen->channels_differ) return false;
  }
  return true;
}

}  // namespace

bool has_statistics(const graph::Model& model) { return !batch_norm_moments(model.graph).empty(); }

Result<Prepared> prepare_static(const Request& request) {
  NARROW_TRY(Prepared prepared, prepare_model(*request.model));
  graph::Graph& graph = prepared.model.graph;
  NARROW_TRY(const int factors, passes::fold_gemm_factors(graph));
  (void)factors;
  const Recipe& recipe = request.recipe;
  if (recipe.equalization) {
    absorb_high_biases(graph, batch_norm_moments(request.model->graph));
    if (request.data == nullptr) {
      equalize_layers(graph);
    } else {
      std::map<std::string, int> axes;
      for (const std::string& name : equalized_values(graph)) axes.emplace(name, 1);
      InputOptions inputs;
      inputs.threads = request.threads;
      inputs.progress = request.progress;
      NARROW_TRY(const auto seen, channels_seen(graph, axes, *request.data, inputs));
      equalize_layers(graph, seen, recipe.per_channel);
    }
  }
  if (recipe.split_channels > 0 && split_channels(graph, recipe.split_channels) > 0) {
    NARROW_TRY(const operators::Inference types, operators::infer_types(graph));
    (void)types;
  }
  if (recipe.smoothing > 0 && request.data != nullptr) {
    InputOptions inputs;
    inputs.threads = request.threads;
    inputs.progress = request.progress;
    NARROW_TRY(const int smoothed, smooth_activations(graph, recipe.smoothing, *request.data, inputs));
    if (smoothed == 0) prepared.warnings.push_back("smoothing found no activation with channels that stand out");
  }
  if (recipe.equalization || recipe.split_channels > 0 || recipe.smoothing > 0) graph::remove_dead(graph);
  return prepared;
}

Result<Outcome> quantize_static(const Request& request) {
  const Recipe& recipe = request.recipe;
  NARROW_TRY(const targets::Target* target, targets::find_target(recipe.target));
  NARROW_RETURN_IF_ERROR(check_recipe(recipe, *target));
  if (request.data == nullptr && !has_statistics(*request.model)) {
    return invalid_argument("static INT8 needs calibration data: the model has no BatchNormalization to take ranges from")
        .hint("give --data, or use --method dynamic");
  }
  NARROW_TRY(Prepared prepared, prepare_static(request));
  Graph& graph = prepared.model.graph;

  Outcome outcome;
  outcome.warnings = std::move(prepared.warnings);
  NARROW_TRY(const Plan wish, static_int8::make_plan(graph, *target, recipe, nullptr));
  NARROW_RETURN_IF_ERROR(something_to_do(graph, wish));

  calibration::CalibrateOptions options;
  options.observer = recipe.observer;
  options.values = wish.calibrated(graph);
  if (recipe.bias_correction) options.channel_axes = static_int8::correction_inputs(graph, wish);
  options.samples = recipe.samples;
  options.threads = request.threads;
  for (const Rule& rule : recipe.rules) options.always_histogram = options.always_histogram || rule.observer.has_value();
  if (request.progress) options.progress = [&](std::size_t done, std::size_t total) { request.progress("calibrating", done, total); };
  NARROW_TRY(const calibration::Observer* chosen, calibration::find_observer(recipe.observer));
  if (request.data == nullptr) {
    NARROW_TRY(outcome.calibration, static_int8::statistics_without_data(graph, options.values, batch_norm_moments(request.model->graph)));
    outcome.warnings.push_back("no data: ranges and means are those that BatchNormalization learned, and inputs are taken as normalised; give --data for better ones");
    if (recipe.observer != "min_max") outcome.warnings.push_back(fmt::format("observer {} needs data; min_max was taken", recipe.observer));
  } else if (request.calibration != nullptr && holds_all(*request.calibration, options, chosen->needs_histogram || options.always_histogram)) {
    outcome.calibration = *request.calibration;
  } else {
    // Kept for other observers on the same table.
    options.always_histogram = options.always_histogram || request.keep_histograms;
    NARROW_TRY(outcome.calibration, calibration::calibrate(graph, *request.data, options));
  }

  NARROW_TRY(const Observed observed, observe(graph, wish, outcome.calibration, recipe, outcome.warnings));
  NARROW_TRY(const Plan plan, static_int8::make_plan(graph, *target, recipe, &observed));
  NARROW_RETURN_IF_ERROR(something_to_do(graph, plan));
  std::map<ValueId, static_int8::RoundedWeight> rounded;
  if (recipe.rounding != "nearest" && !recipe.reduce_range && request.data != nullptr) {
    InputOptions inputs;
    inputs.threads = request.threads;
    inputs.progress = request.progress;
    NARROW_TRY(rounded, static_int8::reconstruct_weights(graph, plan, recipe, *request.data, inputs));
  }
  passes::QdqPlan parameters = static_int8::make_parameters(graph, plan, recipe, observed.ranges, rounded, outcome.warnings);
  if (recipe.bias_correction) static_int8::correct_biases(graph, plan, outcome.calibration, parameters);
  std::vector<LayerDecision> decided = decide(graph, plan, parameters);
  static_int8::store_float_weights(graph, plan, recipe, parameters, decided);

  drop_folded(graph, plan);
  NARROW_RETURN_IF_ERROR(passes::insert_qdq(graph, parameters));
  std::vector<std::string_view> on_codes;
  for (const targets::OperatorRule& rule : target->operators) {
    if (rule.on_codes) on_codes.push_back(rule.op_type);
  }
  NARROW_TRY(const int moved, passes::move_codes(graph, on_codes));
  (void)moved;
  for (std::string& island : targets::describe_islands(graph, *target)) outcome.warnings.push_back(std::move(island));
  NARROW_RETURN_IF_ERROR(quantize_embeddings(graph, recipe, decided));
  outcome.layers = decisions_for(request.model->graph, std::move(decided));
  outcome.correspondence = same_named_values(request.model->graph, graph);
  forget_derived_types(request.model->graph, graph);
  if (recipe.form == "qoperator") NARROW_RETURN_IF_ERROR(passes::qdq_to_qoperator(prepared.model));
  outcome.model = std::move(prepared.model);
  record(outcome.model, recipe);
  return outcome;
}

}  // namespace narrow::quantizers
