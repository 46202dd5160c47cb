// The figures narrow takes from models and measures on them, as plain data: what evaluation fills, programs read and the
// report shows. Anything that was not measured is absent, never zero.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace narrow {

// ---- what a model is -----------------------------------------------------------------------------------------------

struct TensorInfo {
  std::string name;
  std::string type;                  // "f32[N,3,224,224]": element type and shape, '?' for an unknown dimension
  std::string element_type;          // "f32"
  std::vector<std::int64_t> shape;   // -1 where not fixed; empty when !ranked
  bool ranked = false;
};

struct OperatorCount {
  std::string domain;                // "" is ai.onnx
  std::string op_type;
  std::uint64_t count = 0;
  bool runnable = false;             // narrow has a kernel for it
};

// Where the bytes of a model are.
struct SizeClass {
  std::string name;                  // "int8 weights", "float weights", "biases", "scales and zero points", …
  std::uint64_t bytes = 0;
  std::uint64_t tensors = 0;
};

// What a target makes of one layer that holds weights.
struct LayerPlan {
  std::string node, op_type;
  bool quantizable = false;
  std::string reason;                // why not; empty when quantizable
  std::uint64_t parameters = 0;
};

struct ModelInfo {
  std::string path, format;
  std::int64_t ir_version = 0;
  std::map<std::string, std::int64_t> opsets;   // domain -> version
  std::string producer;
  std::uint64_t size_bytes = 0;                 // of the file, external data included
  std::uint64_t parameters = 0;                 // elements of weights and biases
  std::uint64_t multiply_adds = 0;              // of convolutions, matrix products and recurrent layers of known shape, batch 1
  std::uint64_t nodes = 0;
  bool quantized = false;                       // holds QuantizeLinear, DequantizeLinear or integer operators
  std::vector<TensorInfo> inputs, outputs;
  std::vector<OperatorCount> operators;         // most frequent first
  std::vector<SizeClass> sizes;                 // largest first; "graph and names" is what tensors do not explain
  std::vector<std::string> notes;               // what could not be typed or run, and why
  std::string recipe;                           // the recipe that made it, when narrow did
};

// ---- accuracy and distance -----------------------------------------------------------------------------------------

struct Metrics {
  std::uint64_t samples = 0;
  std::optional<double> top1, top5;      // percent of samples whose label is the best class, among the five best
  std::optional<double> agreement;       // percent of samples with the same best class as the reference
  std::optional<double> expected_drop;   // of top-1, or percent of other best classes, that noise of this size costs on average
  std::optional<double> expected_error;  // of expected_drop: one standard error
  std::optional<double> sqnr_db;         // signal to quantization noise over all outputs, against the reference
  std::optional<double> cosine;          // of all outputs with the reference's
  std::optional<double> max_error;       // largest absolute difference of an output element
  std::uint64_t non_finite = 0;          // NaN and infinities in this model's outputs
  std::optional<double> spearman;        // 100 × rank correlation of cosine similarities with the scores of sentence pairs
};

// How far one value of a quantized model is from the same value of the float model.
struct LayerDistortion {
  std::string layer;                     // the node that makes it
  std::string op_type;                   // "Conv", "Conv + Relu"
  std::string value;
  double sqnr_db = 0;                    // within ±200; 200 when both agree exactly
  double cosine = 1;
  double max_error = 0;
};

// The distribution of a value in the float model, and the range that its quantized form can hold.
struct ValueHistogram {
  std::string layer, value;
  double low = 0, high = 0;              // smallest and largest value seen: the ends of the bins
  std::vector<std::uint64_t> counts;
  std::optional<double> clip_low, clip_high;
};

// ---- speed and memory ----------------------------------------------------------------------------------------------

struct KernelTime {
  std::string node, op_type, implementation;
  double ms_per_run = 0;
};

struct BenchResult {
  std::string path;
  int threads = 1;
  std::uint64_t runs = 0;
  std::uint64_t batch = 0;                      // samples of one run, where it was asked for; 0: as the model has it
  double latency_ms_p50 = 0, latency_ms_p95 = 0, latency_ms_p99 = 0, latency_ms_min = 0, latency_ms_mean = 0;
  double load_ms = 0;                           // from the file to a session that can run
  double first_run_ms = 0;                      // kernels are chosen and weights packed on first sight of the shapes
  double throughput_per_s = 0;                  // samples, where a batch was asked for; else runs
  std::vector<double> latencies_ms;             // every run, in the order made
  std::uint64_t peak_memory_bytes = 0;          // largest resident set of a process that did nothing else
  std::uint64_t weight_bytes = 0;
  std::uint64_t arena_bytes = 0, arena_unshared_bytes = 0;   // activations as planned, and without reuse
  std::optional<double> energy_mj_per_run;      // of the processor package
  std::optional<double> energy_estimate_mj;     // from operations and bytes, where no meter says it
  std::string energy_note;                      // "no meter", or where the figure comes from
  std::vector<KernelTime> kernels;              // slowest first; on request
};

// ---- what quantization did -----------------------------------------------------------------------------------------

// What became of one layer of the float model.
struct LayerOutcome {
  std::string node, op_type;
  std::string decision;                       // "quantized" "dynamic" "converted" "folded" "float"
  std::string reason;                         // why it stayed float; empty otherwise
  std::uint64_t weight_bytes_before = 0, weight_bytes_after = 0;
};

struct Verdict {
  bool met = true;                            // false: a quality target was missed
  bool measured = false;                      // the task metric was measured
  std::string summary;                        // one or two sentences
  std::optional<double> drop;                 // points of top-1 or Spearman lost; negative when it gained
  std::optional<Metrics> reference, quantized;
};

// ---- how a method was chosen and what was tried --------------------------------------------------------------------

struct PlanStep {                             // one question on the way to a method
  std::string question, answer;
  std::string consequence;                    // what follows from the answer
};

struct Attempt {                              // one model made on the way to the targets
  std::string name;                           // "static, min_max + gptq"
  std::string change;                         // what it does that the one before did not
  std::optional<double> sqnr_db;              // at the outputs, on a few calibration samples
  bool judged = false;                        // measured on the data of the verdict
  Metrics metrics;                            // on those; when judged
  std::optional<double> drop;                 // as Verdict::drop
  std::uint64_t size_bytes = 0;               // of the tensors; of the file, where a size was asked for
  std::optional<double> latency_ms;           // where one was asked for
  bool met = false;                           // all targets
  bool chosen = false;                        // what came out
  std::string note;                           // why it could not be made
  double seconds = 0;
};

struct LayerSensitivity {                     // what one rounding costs at the outputs, all others left out
  std::string layer;                          // the node whose weights are rounded, or that makes the activation
  std::string value;                          // the activation; empty: weights
  double noise = 0;                           // noise power at the outputs over their signal power
};

struct ParetoPoint {                          // a choice of layers to leave in float
  std::uint64_t float_layers = 0;
  double integer_share = 1;                   // of the multiply-adds
  std::uint64_t weight_bytes = 0;
  double noise = 0;                           // predicted
  std::optional<double> measured;
  bool chosen = false;
};

struct RangeCoverage {                        // of calibration: how far the ranges had come after so many samples
  std::uint64_t samples = 0;
  double coverage = 0;                        // 0 to 1
};

struct Trail {
  std::vector<PlanStep> path;
  std::vector<Attempt> attempts;
  std::vector<LayerSensitivity> sensitivity;  // costliest first
  std::vector<ParetoPoint> pareto;
  std::vector<RangeCoverage> convergence;
};

// ---- diagnosis -----------------------------------------------------------------------------------------------------

// One cause of lost accuracy, speed or size, recognised by a test.
struct Finding {
  std::string cause;                     // "calibration_mean", …; docs/guide/diagnose.md lists them
  std::vector<std::string> layers;       // where it is seen, worst first; empty: the whole model
  std::string evidence;                  // what was found, with figures
  std::string remedy;                    // what to do
  std::string flag;                      // the flags of `quantize` that do it; empty when none does
  std::vector<std::string> excluded;     // the layers that the remedy keeps in float
  std::optional<double> gain_db;         // of SQNR at the outputs, measured with this alone mended
};

// Error of one layer: made by its own integers, its inputs being exact, and as it arrives in the running model.
struct LayerError {
  std::string layer, op_type, value;
  double alone_db = 0, accumulated_db = 0;
  std::string cause;                     // of the finding that names this layer first; empty when none does
};

struct Diagnosis {
  std::vector<Finding> findings;         // the most damaging first
  std::vector<LayerError> layers;        // worst alone first
  std::optional<Metrics> reference, quantized;
  std::vector<std::string> notes;        // what could not be looked at, and why
};

// ---- the report ----------------------------------------------------------------------------------------------------

struct ReportModel {                          // one row of the comparison
  std::string name;                           // "float", "int8", or the file's name
  ModelInfo info;
  std::optional<Metrics> metrics;
  std::optional<BenchResult> bench;
};

struct ReportLayers {                         // one quantized model's distance from the reference
  std::string name;
  std::vector<LayerDistortion> distortion;
};

struct ReportDiagnosis {                      // one model's
  std::string name;
  Diagnosis diagnosis;
};

struct Report {
  std::string title;
  std::optional<Verdict> verdict;
  std::vector<ReportModel> models;            // the reference first
  std::vector<ReportLayers> layers;
  std::vector<ValueHistogram> histograms;
  std::vector<LayerOutcome> outcomes;
  std::vector<std::string> warnings;
  std::vector<ReportDiagnosis> diagnoses;     // as it was, then as it was mended
  Trail trail;
  std::string recipe;                         // TOML
  std::vector<std::pair<std::string, std::string>> facts;   // data, environment, …: shown as they are
};

}  // namespace narrow
