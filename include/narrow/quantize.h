// quantize(): from a float model to one whose quantization is explicit, with what it cost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "narrow/data.h"
#include "narrow/evaluate.h"
#include "narrow/figures.h"
#include "narrow/model.h"
#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow {

// What is left out comes from the recipe file, then from the defaults.
struct QuantizeOptions {
  std::string recipe_file;                    // TOML
  std::string recipe;                         // TOML itself, where there is no file
  std::optional<std::string> method;          // "auto", "static", "dynamic", "fp16", …; see `narrow list methods`
  std::optional<std::string> target;          // "onnxruntime", …
  std::optional<std::string> form;            // "qdq" | "qoperator"
  std::optional<std::string> observer;        // "min_max", …
  std::optional<double> percentile;
  std::optional<bool> per_channel, symmetric;
  std::optional<std::uint64_t> bits, group_size;  // weight-only
  std::vector<std::string> exclude;           // node name patterns (*, ?), or "type:Softmax"
  std::optional<std::uint64_t> samples;       // calibration size; 0: all
  std::optional<std::uint64_t> seed;
  int threads = 0;                            // 0: all processors
  std::uint64_t distortion_samples = 8;       // the per-layer comparison is made on so many samples
  std::uint64_t histograms = 0;               // of so many of the worst layers, for the report
  Progress progress;
};

struct Quantization {
  Model model;
  std::string method, method_reason;          // what ran; why, when the choice was narrow's
  std::string target, observer, form;
  std::string recipe;                         // TOML; replays this run
  std::vector<LayerOutcome> layers;
  std::vector<std::string> warnings;
  std::string calibration_data;               // "" when none was used
  std::uint64_t calibration_samples = 0;
  std::vector<LayerDistortion> distortion;    // in graph order; empty when the models could not be run
  std::vector<ValueHistogram> histograms;
  std::optional<Metrics> outputs;             // agreement, sqnr_db, … over the distortion samples
  std::string distortion_note;                // which inputs were used, or why there are no figures
  Trail trail;                                // of method mixed: sensitivity and curve; of a search: all of it
};

// `data` may be null for methods that need none. Errors: invalid_argument (options, or data missing), unsupported (a model
// that is already quantized), corrupt, and what calibration reports.
Result<Quantization> quantize(const Model& model, const Data* data, const QuantizeOptions& options = {});

struct JudgeOptions {
  double max_drop = 2.0;                      // percentage points
  bool same_data_as_calibration = false;      // said in the summary
  EvaluateOptions evaluate;
};

// The task metric of both models when `data` has labels, else agreement and distortion alone. `data` may be null: then
// the verdict rests on the distortion that quantize() measured.
Result<Verdict> judge(const Model& reference, const Quantization& quantization, const Data* data,
                      const JudgeOptions& options = {});

}  // namespace narrow
