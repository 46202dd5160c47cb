#include "diagnosis/input_causes.h"

#include <fmt/format.h>

#include <algorithm>

#include "evaluation/accuracy.h"

namespace narrow::diagnosis {
namespace {

// Another explanation than the data as they are must fit them so much better, in the mean over the ranges' ends.
constexpr double kBetter = 0.1, kBetterShare = 0.8;
constexpr double kWorthNaming = 0.5;         // dB that mended ranges must win before few samples are blamed
constexpr double kBetterAccuracy = 10;       // points

// Few calibration samples leave ranges that samples like them keep to; an observer that clips cuts every sample.
bool some_sample_fits(const Evidence& evidence) {
  constexpr double kMostCut = 0.3;   // of the ranges that clip
  std::vector<std::size_t> cut(evidence.samples.size());
  std::size_t sites = 0;
  for (const SiteStatistics& site : evidence.live) {
    if (site.clipped <= site.rounded) continue;
    ++sites;
    for (std::size_t i = 0; i < site.samples.size(); ++i) cut[i] += site.samples[i].clipped > 0;
  }
  return std::any_of(cut.begin(), cut.end(), [&](std::size_t count) { return static_cast<double>(count) < kMostCut * static_cast<double>(sites); });
}

}  // namespace

Status name_calibration(const Evidence& evidence, std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options,
                        Findings& findings) {
  NARROW_TRY(const std::vector<Explanation> tried, explain_ranges(evidence.reference, evidence.pairing.activations, evidence.live, data, options));
  const auto whole = std::find_if(tried.begin(), tried.end(), [](const Explanation& e) { return e.change.identity(); });
  if (whole == tried.end()) return {};
  const Explanation& best = tried.front();
  const bool changed = !best.change.identity() && best.misfit < whole->misfit - kBetter && best.misfit < kBetterShare * whole->misfit;
  auto ranges = std::find_if(findings.begin(), findings.end(), [](const Finding& f) { return f.cause.starts_with("calibration_too_"); });
  const bool narrow = ranges != findings.end() && ranges->cause == "calibration_too_narrow" && ranges->gain_db.value_or(0) >= kWorthNaming;
  if (!changed && !(narrow && some_sample_fits(evidence))) return {};
  Finding finding;
  if (ranges != findings.end()) {
    finding = std::move(*ranges);
    findings.erase(ranges);
  }
  if (changed) {
    finding.cause = "calibration_" + best.change.cause;
    finding.evidence = fmt::format("the model's ranges are those of data with {}: the misfit is {:.2f}, with the data as they are {:.2f}", best.change.name,
                                   best.misfit, whole->misfit);
    finding.remedy = "calibrate with the preprocessing that this data has";
  } else {
    finding.cause = "calibration_samples";
    finding.evidence = fmt::format("the model's ranges fit some of these samples and cut others: few or similar samples were calibrated on; {}", finding.evidence);
    finding.remedy = "calibrate on more samples, and on samples that differ";
  }
  finding.flag.clear();
  findings.push_back(std::move(finding));
  return {};
}

Status find_wrong_inputs(const Evidence& evidence, std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options,
                         Findings& findings) {
  if (!data->labelled()) return {};
  const graph::Graph* models[] = {&evidence.reference};
  NARROW_TRY(const std::vector<Metrics> before, evaluation::measure_metrics(models, *data, options));
  if (!before.front().top1) return {};
  NARROW_TRY(const datasets::Sample first, data->read(0));
  const InputRange range = input_range(first);
  double best = *before.front().top1 + kBetterAccuracy;
  Finding finding;
  for (const InputChange& change : usual_changes(range.low, range.high, range.picture)) {
    const std::shared_ptr<const datasets::Dataset> other = changed(data, change);
    const auto after = evaluation::measure_metrics(models, *other, options);
    if (!after.ok() || after->front().top1.value_or(0) < best) continue;
    best = *after->front().top1;
    finding.cause = "input_" + change.cause;
    finding.evidence = fmt::format("the float model finds {:.1f} % of the labels in this data and {:.1f} % with {}", *before.front().top1, best, change.name);
    finding.remedy = "prepare the data as the model was trained";
    finding.flag = "--preprocess …";
  }
  if (!finding.cause.empty()) findings.push_back(std::move(finding));
  return {};
}

}  // namespace narrow::diagnosis
