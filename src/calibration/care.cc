#include "calibration/care.h"

#include <algorithm>
#include <map>

namespace narrow::calibration {
namespace {

// A range this much wider than without the sample is stretched by it.
constexpr float kStretched = 1.5f;
// Of all values, so many must be stretched by a sample before it is named.
constexpr double kShareStretched = 0.05;
constexpr std::size_t kMostNamed = 8;

}  // namespace

void DataCare::reach(Extreme& extreme, float value, bool further, std::uint64_t sample) {
  if (further) {
    extreme.second = extreme.first;
    extreme.first = value;
    extreme.sample = sample;
    extreme.name.clear();
  }
}

void DataCare::see(std::size_t value, float min, float max) {
  Ranges& ranges = ranges_[value];
  if (!ranges.any) {
    ranges.any = true;
    // Every range contains 0: that much is there without any sample.
    ranges.low = {std::min(min, 0.0f), 0, samples_, ""};
    ranges.high = {std::max(max, 0.0f), 0, samples_, ""};
    named_.push_back(value);
    return;
  }
  const bool lower = min < ranges.low.first, higher = max > ranges.high.first;
  if (!lower) ranges.low.second = std::min(ranges.low.second, min);
  if (!higher) ranges.high.second = std::max(ranges.high.second, max);
  reach(ranges.low, min, lower, samples_);
  reach(ranges.high, max, higher, samples_);
  if (lower || higher) named_.push_back(value);
}

void DataCare::end_sample(const std::string& name) {
  for (std::size_t value : named_) {
    for (Extreme* extreme : {&ranges_[value].low, &ranges_[value].high}) {
      if (extreme->sample == samples_ && extreme->name.empty()) extreme->name = name;
    }
  }
  named_.clear();
  ++samples_;
  if ((samples_ & (samples_ - 1)) != 0) return;
  std::vector<float> widths;
  for (const Ranges& ranges : ranges_) widths.push_back(ranges.any ? ranges.high.first - ranges.low.first : 0.0f);
  widths_.emplace_back(samples_, std::move(widths));
}

void DataCare::report(CalibrationTable& table) const {
  std::map<std::uint64_t, OutlierSample> stretching;
  std::size_t ranged = 0;
  for (const Ranges& ranges : ranges_) {
    const float width = ranges.high.first - ranges.low.first;
    if (!ranges.any || width <= 0) continue;
    ++ranged;
    for (const Extreme* extreme : {&ranges.low, &ranges.high}) {
      const float without = extreme == &ranges.low ? ranges.high.first - std::min(extreme->second, 0.0f) : std::max(extreme->second, 0.0f) - ranges.low.first;
      if (samples_ < 3 || without <= 0 || width < kStretched * without) continue;
      OutlierSample& sample = stretching[extreme->sample];
      sample.name = extreme->name;
      ++sample.values;
      sample.factor = std::max(sample.factor, static_cast<double>(width / without));
    }
  }
  for (const auto& [index, sample] : stretching) {
    if (static_cast<double>(sample.values) >= std::max(1.0, kShareStretched * static_cast<double>(ranged))) table.outliers.push_back(sample);
  }
  std::stable_sort(table.outliers.begin(), table.outliers.end(), [](const auto& a, const auto& b) { return a.values > b.values; });
  table.outliers.resize(std::min(table.outliers.size(), kMostNamed));
  const auto coverage = [&](const std::vector<float>& widths) {
    double sum = 0;
    for (std::size_t v = 0; v < ranges_.size(); ++v) {
      const float width = ranges_[v].high.first - ranges_[v].low.first;
      if (ranges_[v].any && width > 0) sum += widths[v] / width;
    }
    return ranged > 0 ? sum / static_cast<double>(ranged) : 1.0;
  };
  for (const auto& [samples, widths] : widths_) table.convergence.push_back({samples, coverage(widths)});
  if (table.convergence.empty() || table.convergence.back().samples != samples_) table.convergence.push_back({samples_, 1.0});
}

}  // namespace narrow::calibration
