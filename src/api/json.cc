#include "narrow/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "narrow/kernel_text.h"
#include "narrow/version.h"

namespace narrow {
namespace {

using Json = nlohmann::ordered_json;

std::string finish(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// JSON has no NaN and no infinity.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void put(Json& json, const char* name, const std::optional<double>& value) {
  if (value) json[name] = number(*value);
}

Json json_of(const TensorInfo& tensor) {
  return {{"name", tensor.name}, {"type", tensor.element_type}, {"shape", tensor.ranked ? Json(tensor.shape) : Json(nullptr)}};
}

Json json_of(const std::vector<TensorInfo>& tensors) {
  Json list = Json::array();
  for (const TensorInfo& tensor : tensors) list.push_back(json_of(tensor));
  return list;
}

Json json_of(const std::vector<SizeClass>& sizes) {
  Json list = Json::array();
  for (const SizeClass& s : sizes) list.push_back({{"class", s.name}, {"bytes", s.bytes}, {"tensors", s.tensors}});
  return list;
}

Json json_of(const Metrics& metrics) {
  Json json;
  json["samples"] = metrics.samples;
  put(json, "top1", metrics.top1);
  put(json, "top5", metrics.top5);
  put(json, "spearman", metrics.spearman);
  put(json, "agreement", metrics.agreement);
  put(json, "expected_drop", metrics.expected_drop);
  put(json, "expected_error", metrics.expected_error);
  put(json, "sqnr_db", metrics.sqnr_db);
  put(json, "cosine", metrics.cosine);
  put(json, "max_error", metrics.max_error);
  if (metrics.non_finite != 0) json["non_finite"] = metrics.non_finite;
  return json;
}

Json json_of(const BenchResult& r) {
  Json json = {{"model", r.path}, {"threads", r.threads}, {"runs", r.runs}, {"latency_ms_p50", r.latency_ms_p50},
               {"latency_ms_p95", r.latency_ms_p95}, {"latency_ms_p99", r.latency_ms_p99}, {"latency_ms_min", r.latency_ms_min},
               {"latency_ms_mean", r.latency_ms_mean}, {"throughput_per_s", r.throughput_per_s},
               {"load_ms", r.load_ms}, {"first_run_ms", r.first_run_ms},
               {"peak_memory_bytes", r.peak_memory_bytes}, {"weight_bytes", r.weight_bytes},
               {"arena_bytes", r.arena_bytes}, {"arena_unshared_bytes", r.arena_unshared_bytes}};
  if (r.batch != 0) json["batch"] = r.batch;
  put(json, "energy_mj", r.energy_mj_per_run);
  put(json, "energy_estimate_mj", r.energy_estimate_mj);
  json["energy_meter"] = r.energy_note;
  if (!r.kernels.empty()) {
    Json kernels = Json::array();
    for (const KernelTime& k : r.kernels) {
      const auto [kernel, reason] = kernel_and_reason(k);
      kernels.push_back({{"node", k.node}, {"op_type", k.op_type}, {"implementation", kernel}, {"reason", reason}, {"ms", k.ms_per_run}});
    }
    json["kernels"] = std::move(kernels);
  }
  return json;
}

Json json_of(const std::vector<LayerDistortion>& layers) {
  Json list = Json::array();
  for (const LayerDistortion& d : layers) {
    list.push_back({{"layer", d.layer}, {"op_type", d.op_type}, {"value", d.value}, {"sqnr_db", number(d.sqnr_db)},
                    {"cosine", number(d.cosine)}, {"max_error", number(d.max_error)}});
  }
  return list;
}

Json json_of(const std::vector<LayerOutcome>& outcomes) {
  Json list = Json::array();
  for (const LayerOutcome& o : outcomes) {
    Json one = {{"node", o.node}, {"op_type", o.op_type}, {"decision", o.decision}};
    if (!o.reason.empty()) one["reason"] = o.reason;
    list.push_back(std::move(one));
  }
  return list;
}

Json json_of(const std::vector<PlanStep>& path) {
  Json list = Json::array();
  for (const PlanStep& step : path) list.push_back({{"question", step.question}, {"answer", step.answer}, {"consequence", step.consequence}});
  return list;
}

void put(Json& json, const Trail& trail) {
  if (!trail.path.empty()) json["path"] = json_of(trail.path);
  if (!trail.attempts.empty()) {
    Json list = Json::array();
    for (const Attempt& attempt : trail.attempts) {
      Json one = {{"name", attempt.name}, {"judged", attempt.judged}, {"met", attempt.met}, {"chosen", attempt.chosen}, {"seconds", number(attempt.seconds)}};
      if (!attempt.change.empty()) one["change"] = attempt.change;
      if (!attempt.note.empty()) one["note"] = attempt.note;
      put(one, "sqnr_db", attempt.sqnr_db);
      put(one, "drop", attempt.drop);
      put(one, "latency_ms", attempt.latency_ms);
      if (attempt.size_bytes != 0) one["size_bytes"] = attempt.size_bytes;
      if (attempt.judged) one["metrics"] = json_of(attempt.metrics);
      list.push_back(std::move(one));
    }
    json["attempts"] = std::move(list);
  }
  if (!trail.sensitivity.empty()) {
    Json list = Json::array();
    for (const LayerSensitivity& source : trail.sensitivity) {
      Json one = {{"layer", source.layer}, {"noise", number(source.noise)}};
      if (!source.value.empty()) one["value"] = source.value;
      list.push_back(std::move(one));
    }
    json["sensitivity"] = std::move(list);
  }
  if (!trail.convergence.empty()) {
    Json list = Json::array();
    for (const RangeCoverage& point : trail.convergence) list.push_back({{"samples", point.samples}, {"coverage", number(point.coverage)}});
    json["range_convergence"] = std::move(list);
  }
  if (!trail.pareto.empty()) {
    Json list = Json::array();
    for (const ParetoPoint& point : trail.pareto) {
      Json one = {{"float_layers", point.float_layers}, {"integer_share", number(point.integer_share)}, {"weight_bytes", point.weight_bytes},
                  {"noise", number(point.noise)}, {"chosen", point.chosen}};
      put(one, "measured", point.measured);
      list.push_back(std::move(one));
    }
    json["pareto"] = std::move(list);
  }
}

Json json_of(const Verdict& verdict) {
  Json json = {{"met", verdict.met}, {"summary", verdict.summary}};
  put(json, "drop", verdict.drop);
  if (verdict.reference) json["float"] = json_of(*verdict.reference);
  if (verdict.quantized) json["quantized"] = json_of(*verdict.quantized);
  return json;
}

}  // namespace

std::string to_json(const ModelInfo& info, const std::vector<LayerPlan>& plan, const std::string& target) {
  Json json = {{"path", info.path}, {"format", info.format}, {"size_bytes", info.size_bytes},
               {"ir_version", info.ir_version}, {"opsets", info.opsets}, {"producer", info.producer},
               {"parameters", info.parameters}, {"multiply_adds", info.multiply_adds}, {"nodes", info.nodes},
               {"quantized", info.quantized}, {"inputs", json_of(info.inputs)}, {"outputs", json_of(info.outputs)}};
  Json operators = Json::array();
  for (const OperatorCount& op : info.operators) {
    operators.push_back({{"domain", op.domain}, {"op_type", op.op_type}, {"count", op.count}, {"runnable", op.runnable}});
  }
  json["operators"] = std::move(operators);
  json["sizes"] = json_of(info.sizes);
  json["notes"] = info.notes;
  if (!info.recipe.empty()) json["recipe"] = info.recipe;
  if (!target.empty()) {
    Json layers = Json::array();
    for (const LayerPlan& layer : plan) {
      Json one = {{"node", layer.node}, {"op_type", layer.op_type}, {"quantizable", layer.quantizable},
                  {"parameters", layer.parameters}};
      if (!layer.reason.empty()) one["reason"] = layer.reason;
      layers.push_back(std::move(one));
    }
    json["target"] = target;
    json["layers"] = std::move(layers);
  }
  return finish(json);
}

std::string to_json(const std::vector<CatalogEntry>& entries) {
  Json list = Json::array();
  for (const CatalogEntry& entry : entries) list.push_back({{"name", entry.name}, {"summary", entry.summary}});
  return finish(list);
}

std::string to_json(const Metrics& metrics) { return finish(json_of(metrics)); }

std::string to_json(const std::vector<BenchResult>& results) {
  Json list = Json::array();
  for (const BenchResult& result : results) list.push_back(json_of(result));
  return finish({{"version", version()}, {"environment", environment()}, {"models", std::move(list)}});
}

std::string to_json(const Report& report) {
  Json models = Json::array();
  for (const ReportModel& model : report.models) {
    Json one = {{"name", model.name}, {"path", model.info.path}, {"size_bytes", model.info.size_bytes}};
    if (model.metrics) one.update(json_of(*model.metrics));
    if (model.bench) {
      Json bench = json_of(*model.bench);
      bench.erase("model");
      one.update(bench);
    }
    one["sizes"] = json_of(model.info.sizes);
    models.push_back(std::move(one));
  }
  Json json = {{"version", version()}, {"environment", environment()}, {"models", std::move(models)}};
  Json layers = Json::array();
  for (const ReportLayers& each : report.layers) layers.push_back({{"model", each.name}, {"layers", json_of(each.distortion)}});
  json["distortion"] = std::move(layers);
  json["warnings"] = report.warnings;
  return finish(json);
}

std::string to_json(const Quantization& q, const Verdict& verdict, const ModelInfo& before, const ModelInfo& after) {
  Json json = {{"version", version()}, {"output", after.path}, {"method", q.method}};
  if (!q.method_reason.empty()) json["method_reason"] = q.method_reason;
  json["target"] = q.target;
  json["size_bytes"] = after.size_bytes;
  json["size_bytes_before"] = before.size_bytes;
  json["sizes"] = json_of(after.sizes);
  json["calibration_samples"] = q.calibration_samples;
  if (q.outputs) {
    put(json, "sqnr_db", q.outputs->sqnr_db);
    put(json, "agreement", q.outputs->agreement);
  }
  json["verdict"] = json_of(verdict);
  put(json, q.trail);
  json["layers"] = json_of(q.layers);
  json["distortion"] = json_of(q.distortion);
  json["warnings"] = q.warnings;
  json["recipe"] = q.recipe;
  return finish(json);
}

std::string to_json(const QuantizationPlan& plan) {
  Json remedies = Json::array();
  for (const auto& [name, summary] : plan.remedies) remedies.push_back({{"name", name}, {"summary", summary}});
  return finish({{"version", version()}, {"method", plan.method}, {"path", json_of(plan.path)}, {"remedies", std::move(remedies)},
                 {"notes", plan.notes}, {"recipe", plan.recipe}});
}

std::string to_json(const Diagnosis& diagnosis) {
  Json json = {{"version", version()}};
  if (diagnosis.reference) json["float"] = json_of(*diagnosis.reference);
  if (diagnosis.quantized) json["quantized"] = json_of(*diagnosis.quantized);
  Json findings = Json::array();
  for (const Finding& f : diagnosis.findings) {
    Json one = {{"cause", f.cause}, {"evidence", f.evidence}, {"remedy", f.remedy}, {"flag", f.flag}, {"layers", f.layers}};
    put(one, "gain_db", f.gain_db);
    findings.push_back(std::move(one));
  }
  json["findings"] = std::move(findings);
  Json layers = Json::array();
  for (const LayerError& e : diagnosis.layers) {
    Json one = {{"layer", e.layer}, {"op_type", e.op_type}, {"value", e.value}, {"alone_db", number(e.alone_db)}, {"accumulated_db", number(e.accumulated_db)}};
    if (!e.cause.empty()) one["cause"] = e.cause;
    layers.push_back(std::move(one));
  }
  json["layers"] = std::move(layers);
  json["notes"] = diagnosis.notes;
  return finish(json);
}

std::string to_json(const std::vector<NamedArray>& outputs) {
  Json list = Json::array();
  for (const NamedArray& output : outputs) {
    const std::vector<double> values = output.array.to_double();
    Json one = {{"name", output.name}, {"type", output.array.element_type}, {"shape", output.array.shape}};
    if (!values.empty()) {
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      one["min"] = number(*low);
      one["max"] = number(*high);
    }
    list.push_back(std::move(one));
  }
  return finish(list);
}

}  // namespace narrow
