#include "diagnosis/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "diagnosis/alone.h"
#include "diagnosis/causes.h"
#include "diagnosis/input_causes.h"
#include "diagnosis/output_meter.h"
#include "evaluation/accuracy.h"
#include "evaluation/distortion.h"

namespace narrow::diagnosis {
namespace {

constexpr std::size_t kProbed = 128;     // samples whose ranges are looked at
constexpr std::size_t kMeasured = 32;   // samples that mended copies are measured on
constexpr std::size_t kLayers = 8;      // samples that layers are measured on, alone and in place
constexpr std::size_t kLabelled = 200;  // samples that changed inputs are judged on

// What is wrong before any figure is taken comes first, then what is certain whatever it costs, then by cost.
double weight(const Finding& finding) {
  if (finding.cause == "non_finite") return 3000;
  if (finding.cause.starts_with("input_")) return 2000;
  for (const char* certain : {"calibration_channel_order", "calibration_value_range", "calibration_mean"}) {
    if (finding.cause == certain) return 1000;
  }
  if (finding.cause == "outlier_channels") return finding.gain_db.value_or(0);
  return finding.gain_db.value_or(-100);
}

// A cause that costs the outputs nothing is no cause.
constexpr double kNoticeable = 0.2;

Status measure_layers(const DiagnosisRequest& request, const Pairing& pairing, const datasets::Dataset& data, Diagnosis& diagnosis) {
  evaluation::SweepOptions sweep = request.sweep;
  sweep.phase = "measuring each layer alone";
  auto alone = errors_alone(*request.reference, *request.quantized, pairing.activations, data, sweep);
  if (!alone.ok()) {
    diagnosis.notes.push_back(fmt::format("layers could not be measured alone: {}", alone.error().message()));
    return {};
  }
  evaluation::DistortionRequest distortion;
  distortion.reference = request.reference;
  distortion.quantized = request.quantized;
  distortion.correspondence = evaluation::match_by_name(*request.reference, *request.quantized);
  distortion.sweep = request.sweep;
  NARROW_TRY(const evaluation::DistortionReport accumulated, evaluation::measure_distortion(distortion, data));
  std::unordered_map<std::string, double> by_value;
  for (const LayerDistortion& layer : accumulated.layers) by_value[layer.value] = layer.sqnr_db;
  for (LayerError& error : *alone) {
    const auto found = by_value.find(error.value);
    error.accumulated_db = found == by_value.end() ? error.alone_db : found->second;
    for (const Finding& finding : diagnosis.findings) {
      if (error.cause.empty() && finding.cause != "dead_channels" && std::find(finding.layers.begin(), finding.layers.end(), error.layer) != finding.layers.end()) error.cause = finding.cause;
    }
  }
  diagnosis.layers = *std::move(alone);
  std::stable_sort(diagnosis.layers.begin(), diagnosis.layers.end(), [](const LayerError& a, const LayerError& b) { return a.alone_db < b.alone_db; });
  return {};
}

}  // namespace

Result<Diagnosis> diagnose(const DiagnosisRequest& request) {
  const graph::Graph &reference = *request.reference, &quantized = *request.quantized;
  NARROW_TRY(const Pairing pairing, pair(reference, quantized));
  if (pairing.activations.empty() && pairing.weights.empty()) {
    return invalid_argument("no quantized activation or weight of the second model pairs with the first by name")
        .hint("give the float model that was quantized first, then the quantized one; models quantized for dynamic ranges or by weights alone have no activations to look at");
  }
  const auto probed = std::shared_ptr<const datasets::Dataset>(datasets::take_samples(request.data, kProbed));
  const auto measured = std::shared_ptr<const datasets::Dataset>(datasets::take_samples(request.data, kMeasured));
  evaluation::SweepOptions sweep = request.sweep;
  sweep.phase = "looking at live ranges";
  // What float layers read has no range in the quantized model: any will do to see channels by.
  std::vector<ActivationSite> sites = pairing.activations;
  for (const FloatLayer& layer : pairing.floats) {
    ActivationSite site;
    site.reference = layer.reference_input;
    site.storage_type = DType::kU8;
    sites.push_back(std::move(site));
  }
  NARROW_TRY(const std::vector<SiteStatistics> seen, probe(reference, sites, *probed, sweep));
  const std::span<const SiteStatistics> live = std::span(seen).first(pairing.activations.size()), float_inputs = std::span(seen).subspan(live.size());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < probed->size(); ++i) {
    NARROW_TRY(datasets::Sample sample, probed->read(i));
    names.push_back(std::move(sample.name));
  }

  Diagnosis diagnosis;
  const graph::Graph* models[] = {&reference, &quantized};
  NARROW_TRY(const std::vector<Metrics> metrics, evaluation::measure_metrics(models, *request.data, request.sweep));
  diagnosis.reference = metrics[0];
  diagnosis.quantized = metrics[1];
  sweep.phase = "testing causes";
  NARROW_TRY(const OutputMeter meter, OutputMeter::create(reference, measured, sweep));
  NARROW_TRY(const double as_it_is, meter.measure(quantized));
  const graph::Uses uses(reference);
  const Evidence evidence{reference, quantized, uses, pairing, live, float_inputs, names, request.target, as_it_is,
                          [&](const graph::Graph& mended) { return meter.measure(mended); }};

  Findings& findings = diagnosis.findings;
  find_non_finite(evidence, findings);
  for (const auto& find : {find_ranges, find_outlier_channels, find_weights, find_biases}) NARROW_RETURN_IF_ERROR(find(evidence, findings));
  NARROW_RETURN_IF_ERROR(name_calibration(evidence, probed, sweep, findings));
  const auto labelled = std::shared_ptr<const datasets::Dataset>(datasets::take_samples(request.data, kLabelled));
  NARROW_RETURN_IF_ERROR(find_wrong_inputs(evidence, labelled, sweep, findings));
  std::erase_if(findings, [](const Finding& f) { return f.gain_db && *f.gain_db < kNoticeable && weight(f) < 1000; });
  for (const auto& find : {find_outliers_behind_float, find_overflow, find_refused, find_float_weights, find_dead_channels}) find(evidence, findings);
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) { return weight(a) > weight(b); });
  const auto few = datasets::take_samples(request.data, kLayers);
  NARROW_RETURN_IF_ERROR(measure_layers(request, pairing, *few, diagnosis));
  return diagnosis;
}

}  // namespace narrow::diagnosis
