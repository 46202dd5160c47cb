#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "api/quantization.h"
#include "narrow/quantize.h"
#include "planning/judge.h"

namespace narrow {
namespace {

// Below this the outputs hold more noise than signal: nothing useful is left whatever the task.
constexpr double kHopelessDb = 0.0;
// Above this the outputs differ by less than a thousandth.
constexpr double kCloseDb = 30.0;

Verdict by_distortion(const Quantization& quantization) {
  Verdict verdict;
  if (!quantization.outputs) {
    verdict.summary = "Not measured: " + (quantization.distortion_note.empty() ? "no samples were run" : quantization.distortion_note);
    return verdict;
  }
  const Metrics& outputs = *quantization.outputs;
  if (outputs.non_finite != 0) {
    verdict.met = false;
    verdict.summary = fmt::format("The quantized model's outputs hold {} NaN or infinite values.", outputs.non_finite);
    return verdict;
  }
  if (!outputs.sqnr_db) {
    verdict.summary = "The outputs could not be compared.";
    return verdict;
  }
  const double db = *outputs.sqnr_db;
  const std::string agreement =
      outputs.agreement ? fmt::format(", the best class is the same for {:.0f} % of them", *outputs.agreement) : "";
  verdict.met = db > kHopelessDb;
  verdict.summary = fmt::format("{}: outputs at {:.1f} dB SQNR over {} samples{}.",
                                !verdict.met ? "Unusable" : db >= kCloseDb ? "Close to the float model" : "Measured",
                                db, outputs.samples, agreement);
  return verdict;
}

}  // namespace

Result<Verdict> judge(const Model& reference, const Quantization& quantization, const Data* data,
                      const JudgeOptions& options) {
  if (data == nullptr) return by_distortion(quantization);
  NARROW_TRY(const std::vector<Metrics> both, evaluate({reference, quantization.model}, *data, options.evaluate));
  return verdict_of(both[0], both[1], options, false);
}

Verdict verdict_of(const Metrics& original, const Metrics& quantized, const JudgeOptions& options, bool noise_counts) {
  Verdict verdict;
  verdict.measured = true;
  verdict.quantized = quantized;
  if (!quantized.top1 && !quantized.spearman) {
    verdict.met = quantized.non_finite == 0 && quantized.sqnr_db.value_or(0) > kHopelessDb;
    if (quantized.agreement) {
      verdict.drop = 100.0 - *quantized.agreement;
      verdict.met = verdict.met && *verdict.drop <= options.max_drop && !(noise_counts && planning::expected_of_others(quantized).value_or(0) > options.max_drop + 1e-9);
      verdict.summary = fmt::format("The best class is the float model's for {:.2f} % of {} samples: {} the {:g} % allowed to differ.",
                                    *quantized.agreement, quantized.samples, *verdict.drop <= options.max_drop ? "within" : "more than",
                                    options.max_drop);
      if (noise_counts && quantized.expected_drop) verdict.summary += fmt::format(" Of others, {:.2f} ± {:.2f} % are expected to differ.", *quantized.expected_drop, quantized.expected_error.value_or(0));
    } else if (noise_counts && quantized.sqnr_db) {
      verdict.drop = 100.0 * std::pow(10.0, -*quantized.sqnr_db / 10);
      verdict.met = verdict.met && *verdict.drop <= options.max_drop + 1e-9;
      verdict.summary = fmt::format("Outputs at {:.1f} dB SQNR over {} samples: noise is {:.3g} % of their power, {} the {:g} % allowed.", *quantized.sqnr_db,
                                    quantized.samples, *verdict.drop, verdict.met ? "within" : "more than", options.max_drop);
    } else {
      verdict.summary = fmt::format("Outputs at {:.1f} dB SQNR over {} samples; the data have no labels.",
                                    quantized.sqnr_db.value_or(0), quantized.samples);
    }
    return verdict;
  }
  verdict.reference = original;
  const bool ranked = !quantized.top1.has_value();
  const double before = ranked ? original.spearman.value_or(0) : *original.top1;
  const double after = ranked ? *quantized.spearman : *quantized.top1;
  verdict.drop = before - after;
  // Slack against rounding in the subtraction only.
  verdict.met = *verdict.drop <= options.max_drop + 1e-9;
  const std::string change =
      *verdict.drop > 0   ? fmt::format("{:.2f} points lost, {} the {:g} allowed", *verdict.drop,
                                        verdict.met ? "within" : "more than", options.max_drop)
      : *verdict.drop < 0 ? fmt::format("{:.2f} points gained", -*verdict.drop)
                          : "nothing lost";
  verdict.summary = ranked ? fmt::format("Spearman {:.2f} → {:.2f} on {} sentence pairs: {}.", before, after, quantized.samples / 2, change)
                           : fmt::format("Top-1 {:.2f} % → {:.2f} % on {} samples: {}.", before, after, quantized.samples, change);
  if (noise_counts && quantized.expected_drop) {
    verdict.met = verdict.met && *quantized.expected_drop <= options.max_drop + 1e-9;
    verdict.summary += fmt::format(" Noise of this size is expected to cost {:.2f} points.", *quantized.expected_drop);
  }
  if (options.same_data_as_calibration) verdict.summary += " These samples were also used for calibration.";
  return verdict;
}

}  // namespace narrow
