#include "diagnosis/calibration_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "calibration/calibrator.h"
#include "calibration/observers/observer.h"

namespace narrow::diagnosis {
namespace {

class ChangedData final : public datasets::Dataset {
 public:
  ChangedData(std::shared_ptr<const Dataset> data, InputChange change) : data_(std::move(data)), change_(std::move(change)) {}

  std::size_t size() const override { return data_->size(); }
  bool labelled() const override { return data_->labelled(); }
  std::size_t samples_together() const override { return data_->samples_together(); }
  bool pictures() const override { return data_->pictures(); }
  std::string describe() const override { return fmt::format("{}, {}", data_->describe(), change_.name); }

  Result<datasets::Sample> read(std::size_t index) const override {
    NARROW_TRY(datasets::Sample sample, data_->read(index));
    for (auto& [name, tensor] : sample.inputs) {
      if (tensor.dtype() != DType::kF32) continue;
      Tensor made = tensor.clone();
      std::span<float> to = made.mutable_data<float>();
      const std::span<const float> from = tensor.data<float>();
      const bool reverse = change_.reversed && tensor.rank() == 4 && tensor.shape()[1] == 3;
      const std::size_t plane = reverse ? static_cast<std::size_t>(tensor.shape()[2] * tensor.shape()[3]) : 1;
      for (std::size_t i = 0; i < to.size(); ++i) {
        const std::size_t channel = (i / plane) % 3;
        const float x = reverse ? from[i - channel * plane + (2 - channel) * plane] : from[i];
        to[i] = static_cast<float>(x * change_.scale + change_.shift);
      }
      tensor = std::move(made);
    }
    return sample;
  }

 private:
  std::shared_ptr<const Dataset> data_;
  InputChange change_;
};

// One end of one site's range: where the model has it, where live data have it, and how much that varies between groups of
// live samples; in bits.
struct End {
  std::size_t site;
  bool high;
  double held, deviation;
};

// Ends closer to zero than this share of the range say nothing.
constexpr double kSmall = 0.02;
constexpr double kLeastDeviation = 0.03;
constexpr std::size_t kGroups = 6;

double end_of(const SiteStatistics& seen, bool high, std::size_t begin, std::size_t stop) {
  double end = 0;
  for (std::size_t i = begin; i < stop; ++i) end = std::max(end, high ? static_cast<double>(seen.samples[i].max) : -static_cast<double>(seen.samples[i].min));
  return end;
}

double bits(double end, double floor) { return std::log2(std::max(end, floor)); }

std::vector<End> ends_of(std::span<const ActivationSite> sites, std::span<const SiteStatistics> live) {
  std::vector<End> ends;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const SiteStatistics& seen = live[i];
    const double width = sites[i].high() - sites[i].low();
    if (seen.count == 0 || !(width > 0) || seen.samples.size() < kGroups) continue;
    const IntegerRange codes = integer_range(sites[i].storage_type);
    const bool symmetric = codes.min < 0 && sites[i].zero_point == 0;
    for (const bool high : {false, true}) {
      const double held = high ? sites[i].high() : -sites[i].low();
      const double seen_end = high ? seen.max : -seen.min, other = high ? -seen.min : seen.max;
      if (held < kSmall * width && seen_end < kSmall * width) continue;
      if (symmetric && seen_end < other) continue;  // only the larger end says something
      std::vector<double> groups;
      for (std::size_t g = 0; g < kGroups; ++g) {
        groups.push_back(bits(end_of(seen, high, g * seen.samples.size() / kGroups, (g + 1) * seen.samples.size() / kGroups), kSmall * width));
      }
      double mean = 0, squares = 0;
      for (const double x : groups) mean += x / kGroups;
      for (const double x : groups) squares += (x - mean) * (x - mean) / (kGroups - 1);
      ends.push_back({i, high, bits(held, kSmall * width), std::max(std::sqrt(squares), kLeastDeviation)});
    }
  }
  return ends;
}

// Large misfits count linearly: one odd layer does not decide.
double cost(double deviations) {
  constexpr double kLinear = 2;
  const double size = std::abs(deviations);
  return size <= kLinear ? size * size : kLinear * (2 * size - kLinear);
}

// More samples or fewer may move all ends by this many deviations before it counts.
constexpr double kLargestOffset = 1.5;

using Ranges = std::vector<calibration::Range>;   // by site

double misfit(std::span<const ActivationSite> sites, std::span<const End> ends, const Ranges& ranges) {
  std::vector<double> deviations;
  for (const End& end : ends) {
    const double width = sites[end.site].high() - sites[end.site].low();
    const double found = end.high ? ranges[end.site].max : -ranges[end.site].min;
    deviations.push_back((end.held - bits(found, kSmall * width)) / end.deviation);
  }
  double best = INFINITY;
  for (double offset = -kLargestOffset; offset <= kLargestOffset; offset += 0.25) {
    double sum = 0;
    for (const double d : deviations) sum += cost(d - offset);
    best = std::min(best, sum / static_cast<double>(std::max<std::size_t>(deviations.size(), 1)));
  }
  return best;
}

// Sites with the same parameters share a range, as the parts of a Concat do: it covers them all.
void share(std::span<const ActivationSite> sites, Ranges& ranges) {
  std::map<std::pair<double, double>, calibration::Range> shared;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const auto [at, fresh] = shared.try_emplace({sites[i].scale, sites[i].zero_point}, ranges[i]);
    if (!fresh) at->second = {std::min(at->second.min, ranges[i].min), std::max(at->second.max, ranges[i].max)};
  }
  for (std::size_t i = 0; i < sites.size(); ++i) ranges[i] = shared.at({sites[i].scale, sites[i].zero_point});
}

struct Observing {
  std::string_view observer;
  double percentile;
};
constexpr Observing kObservers[] = {{"min_max", 0}, {"moving_average", 0}, {"percentile", 99.999}, {"percentile", 99.99}, {"percentile", 99.9},
                                    {"entropy", 0}, {"mse", 0}};

// The ranges that calibration on `data` gives, by the observer whose ranges are most like the model's.
Result<Explanation> fit(const InputChange& change, const graph::Graph& reference, std::span<const ActivationSite> sites, std::span<const End> ends,
                        const datasets::Dataset& data, int threads) {
  calibration::CalibrateOptions options;
  options.always_histogram = true;
  options.threads = threads;
  for (const ActivationSite& site : sites) options.values.push_back(site.value);
  std::sort(options.values.begin(), options.values.end());
  options.values.erase(std::unique(options.values.begin(), options.values.end()), options.values.end());
  NARROW_TRY(const calibration::CalibrationTable table, calibration::calibrate(reference, data, options));
  Explanation best{change, "", INFINITY};
  for (const Observing& row : kObservers) {
    NARROW_TRY(const calibration::Observer* observer, calibration::find_observer(row.observer));
    Ranges ranges(sites.size());
    for (std::size_t i = 0; i < sites.size(); ++i) {
      const calibration::ValueStatistics* seen = table.find(sites[i].value);
      if (seen == nullptr || seen->count == 0) continue;
      const IntegerRange codes = integer_range(sites[i].storage_type);
      calibration::ObserverOptions choice;
      if (row.percentile > 0) choice.percentile = row.percentile;
      choice.grid = {static_cast<std::int32_t>(codes.min), static_cast<std::int32_t>(codes.max), codes.min < 0 && sites[i].zero_point == 0};
      ranges[i] = observer->choose(*seen, choice);
    }
    share(sites, ranges);
    const double found = misfit(sites, ends, ranges);
    if (found < best.misfit) {
      best.misfit = found;
      best.observer = row.observer;
    }
  }
  return best;
}

// What maps the inputs' live range onto the one that the model holds for them, when one of the two parts is trivial: a mean
// that was not subtracted, a scale that was left out.
void add_solved(const ActivationSite& input, const SiteStatistics& seen, std::vector<InputChange>& changes) {
  const double width = seen.max - seen.min, held = input.high() - input.low();
  if (!(width > 0) || !(held > 0)) return;
  const double scale = held / width, shift = input.low() - seen.min * scale;
  const auto known = [&](double s, double b) {
    return std::any_of(changes.begin(), changes.end(), [&](const InputChange& c) {
      return std::abs(c.scale / s - 1) < 0.05 && std::abs(c.shift - b) < 0.02 * held;
    });
  };
  if (std::abs(scale - 1) < 0.1 && std::abs(input.low() - seen.min) > 0.03 * width) {
    const double moved = 0.5 * ((input.low() - seen.min) + (input.high() - seen.max));
    if (!known(1, moved)) changes.push_back({"mean", fmt::format("another mean: values {:+.3g}", moved), false, 1, moved});
  }
  // Dark samples alone give smaller ranges too: only far smaller ones speak of a scale.
  if (!known(scale, shift) && (scale > 1.5 || scale < 0.1)) {
    changes.push_back({"value_range", fmt::format("another scale and mean: x * {:.3g} {:+.3g}", scale, shift), false, scale, shift});
  }
}

}  // namespace

std::unique_ptr<datasets::Dataset> changed(std::shared_ptr<const datasets::Dataset> data, const InputChange& change) {
  return std::make_unique<ChangedData>(std::move(data), change);
}

InputRange input_range(const datasets::Sample& sample) {
  InputRange range;
  for (const auto& [name, tensor] : sample.inputs) {
    if (tensor.dtype() != DType::kF32) continue;
    range.picture = range.picture || (tensor.rank() == 4 && tensor.shape()[1] == 3);
    for (const float x : tensor.data<float>()) {
      range.low = std::min<double>(range.low, x);
      range.high = std::max<double>(range.high, x);
    }
  }
  return range;
}

std::vector<InputChange> usual_changes(double low, double high, bool pictures) {
  std::vector<InputChange> changes;
  const double largest = std::max(std::abs(low), std::abs(high));
  const bool pixels = low >= 0 && largest > 32, unit = low >= 0 && largest <= 1.01, centred = low < 0 && largest <= 1.01;
  if (pixels) {
    changes.push_back({"value_range", "values in [0, 1] where [0, 255] was meant", false, 1.0 / 255, 0});
    changes.push_back({"value_range", "values in [-1, 1] where [0, 255] was meant", false, 1.0 / 127.5, -1});
  } else if (unit) {
    changes.push_back({"value_range", "values in [0, 255] where [0, 1] was meant", false, 255, 0});
    changes.push_back({"value_range", "values in [-1, 1] where [0, 1] was meant", false, 2, -1});
  } else if (centred) {
    changes.push_back({"value_range", "values in [0, 255] where [-1, 1] was meant", false, 127.5, 127.5});
    changes.push_back({"value_range", "values in [0, 1] where [-1, 1] was meant", false, 0.5, 0.5});
  } else {
    changes.push_back({"value_range", "values 255 times too large (not scaled to [0, 1])", false, 255, 0});
    changes.push_back({"value_range", "values 255 times too small (scaled to [0, 1] once too often)", false, 1.0 / 255, 0});
  }
  if (pictures) {
    changes.push_back({"channel_order", "channels in reverse order (BGR for RGB or the other way)", true, 1, 0});
    for (std::size_t i = 0, count = changes.size() - 1; i < count; ++i) {
      InputChange both = changes[i];
      both.name += ", and channels in reverse order";
      both.reversed = true;
      changes.push_back(std::move(both));
    }
  }
  return changes;
}

Result<std::vector<Explanation>> explain_ranges(const graph::Graph& reference, std::span<const ActivationSite> sites,
                                                std::span<const SiteStatistics> live,
                                                std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options) {
  std::vector<Explanation> explanations;
  const std::vector<End> ends = ends_of(sites, live);
  if (ends.empty()) return explanations;
  NARROW_TRY(Explanation as_they_are, fit({"", "as they are", false, 1, 0}, reference, sites, ends, *data, options.threads));
  explanations.push_back(std::move(as_they_are));

  NARROW_TRY(const datasets::Sample first, data->read(0));
  const InputRange range = input_range(first);
  const auto input = std::find_if(sites.begin(), sites.end(), [&](const ActivationSite& site) {
    return std::find(reference.inputs.begin(), reference.inputs.end(), site.reference) != reference.inputs.end();
  });
  double low = range.low, high = range.high;
  if (input != sites.end()) {
    low = live[static_cast<std::size_t>(input - sites.begin())].min;
    high = live[static_cast<std::size_t>(input - sites.begin())].max;
  }
  std::vector<InputChange> changes = usual_changes(low, high, range.picture);
  if (input != sites.end()) add_solved(*input, live[static_cast<std::size_t>(input - sites.begin())], changes);
  for (const InputChange& change : changes) {
    // The model's range of the input itself rules most out without a run.
    if (input != sites.end()) {
      const double expected = std::max(high * change.scale + change.shift, 0.0) - std::min(low * change.scale + change.shift, 0.0);
      if (std::abs(std::log2((input->high() - input->low()) / expected)) > 1.0) continue;
    }
    const std::shared_ptr<const datasets::Dataset> made = changed(data, change);
    auto explained = fit(change, reference, sites, ends, *made, options.threads);
    if (explained.ok()) explanations.push_back(*std::move(explained));  // a model may refuse such inputs
  }
  std::stable_sort(explanations.begin(), explanations.end(), [](const Explanation& a, const Explanation& b) { return a.misfit < b.misfit; });
  return explanations;
}

}  // namespace narrow::diagnosis
