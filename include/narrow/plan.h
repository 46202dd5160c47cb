// The way from a model, its data and its target to a method, and the search that carries it out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "narrow/data.h"
#include "narrow/figures.h"
#include "narrow/model.h"
#include "narrow/quantize.h"
#include "narrow/result.h"

namespace narrow {

struct PlanOptions {
  double max_drop = 2.0;                      // points of the task metric; without labels percent of best classes that differ, or
                                              // of the outputs' power that is noise
  std::string prefer = "latency";             // "latency", "size" or "accuracy": what comes first among models that meet the targets
  bool retraining = false;                    // the model could be trained again
};

struct QuantizationPlan {
  std::vector<PlanStep> path;
  std::string method;
  std::string recipe;                         // TOML
  std::vector<std::pair<std::string, std::string>> remedies;   // what is tried on a miss, in order: name and what it does
  std::vector<std::string> notes;
};

// `data` may be null. The recipe holds what `options` say. Errors: unsupported (nothing to gain), invalid_argument.
Result<QuantizationPlan> plan(const Model& model, const Data* data, const PlanOptions& plan, const QuantizeOptions& options = {});
// For a folder or file that LanguageModel reads.
Result<QuantizationPlan> plan_language(bool has_data, const PlanOptions& plan);

struct TargetOptions {
  PlanOptions plan;
  std::optional<double> max_latency_ms;
  std::optional<std::uint64_t> max_size;      // bytes of the written file
  // Measures one model's median latency; needed with max_latency_ms.
  std::function<Result<double>(const Model&)> latency_ms;
};

// Quantizes, judges on `evaluation`, and on a miss tries what the plan names next, until the targets are met or nothing is left:
// then the best model comes out and its verdict says what was missed. Quantization::trail holds every attempt. Where
// `evaluation` is null the judge takes the samples of `data` that were not calibrated on (all of them where they are few), and
// without data random inputs. Errors: as quantize(), when no method could run.
struct Targeted {
  Quantization quantization;
  Verdict verdict;
};
Result<Targeted> quantize_to_target(const Model& model, const Data* data, const Data* evaluation, const QuantizeOptions& options,
                                    const TargetOptions& target);

}  // namespace narrow
