#include "calibration/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/scan/scan.h"

namespace narrow::calibration {
namespace {

// 2^-126 is the smallest power whose inverse is a normal float too.
constexpr int kMinExponent = -126;
// Cells finer than 2^-22 of the largest magnitude would mostly be ones that no float falls in.
constexpr int kResolution = 22;
// Below this many values the four scratch tables cost more than they save.
constexpr std::size_t kFewValues = 2048;

float power_of_two(int exponent) { return std::ldexp(1.0f, exponent); }

// The smallest exponent for the range; depends on nothing else, and never falls when the range grows.
int exponent_for(float min, float max, int max_cells) {
  const float largest = std::max(std::abs(min), std::abs(max));
  int exponent = largest == 0 ? kMinExponent : std::max(kMinExponent, std::ilogb(largest) - kResolution);
  while (cell_of(max, power_of_two(-exponent)) - cell_of(min, power_of_two(-exponent)) >= max_cells) ++exponent;
  return exponent;
}

}  // namespace

void AdaptiveHistogram::extend(float min, float max) {
  const bool first_time = counts_.empty();
  if (!first_time && min >= min_ && max <= max_) return;
  min_ = first_time ? min : std::min(min, min_);
  max_ = first_time ? max : std::max(max, max_);
  const int exponent = exponent_for(min_, max_, max_cells_);
  const float inverse = power_of_two(-exponent);
  const std::int32_t first = cell_of(min_, inverse), last = cell_of(max_, inverse);
  std::vector<std::uint64_t> grown(static_cast<std::size_t>(last - first) + 1, 0);
  const int shift = std::min(31, exponent - exponent_);  // 31: everything falls in cell 0 or -1
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const std::int32_t cell = (first_ + static_cast<std::int32_t>(i)) >> shift;  // rounds down
    grown[static_cast<std::size_t>(cell - first)] += counts_[i];
  }
  counts_ = std::move(grown);
  exponent_ = exponent;
  first_ = first;
}

void AdaptiveHistogram::add(std::span<const float> values) {
  if (values.empty()) return;
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  extend(*min, *max);
  const float inverse = power_of_two(-exponent_);
  for (float v : values) ++counts_[static_cast<std::size_t>(cell_of(v, inverse) - first_)];
}

void HistogramFiller::add(std::span<const float> values, float min, float max) {
  AdaptiveHistogram& h = histogram_;
  const bool fits = !h.counts_.empty() && min >= h.min_ && max <= h.max_;
  if (!fits || pending_ + values.size() > (std::uint64_t{1} << 31)) flush();  // 32-bit counters
  if (!fits) h.extend(min, max);
  const float inverse = power_of_two(-h.exponent_);
  if (pending_ == 0 && values.size() < kFewValues) {
    for (float v : values) ++h.counts_[static_cast<std::size_t>(cell_of(v, inverse) - h.first_)];
    return;
  }
  const std::size_t cells = h.counts_.size();
  if (tables_.size() < 4 * cells) tables_.assign(4 * cells, 0);
  scan_kernel().count(values.data(), values.size(), inverse, h.first_, tables_.data(), cells);
  pending_ += values.size();
}

void HistogramFiller::flush() {
  if (pending_ == 0) return;
  const std::size_t cells = histogram_.counts_.size();
  const std::uint32_t* t = tables_.data();
  for (std::size_t i = 0; i < cells; ++i) {
    histogram_.counts_[i] += std::uint64_t{t[i]} + t[cells + i] + t[2 * cells + i] + t[3 * cells + i];
  }
  std::fill_n(tables_.begin(), 4 * cells, 0u);
  pending_ = 0;
}

void AdaptiveHistogram::merge(const AdaptiveHistogram& other) {
  if (other.empty()) return;
  extend(other.min_, other.max_);
  const int shift = std::min(31, exponent_ - other.exponent_);
  for (std::size_t i = 0; i < other.counts_.size(); ++i) {
    if (other.counts_[i] == 0) continue;
    const std::int32_t cell = (other.first_ + static_cast<std::int32_t>(i)) >> shift;
    counts_[static_cast<std::size_t>(cell - first_)] += other.counts_[i];
  }
}

Histogram AdaptiveHistogram::result() const {
  Histogram out;
  if (empty()) return out;
  const double width = std::ldexp(1.0, exponent_);
  out.low = static_cast<float>(std::max(first_ * width, -static_cast<double>(std::numeric_limits<float>::max())));
  out.high = static_cast<float>(std::min((first_ + static_cast<double>(counts_.size())) * width,
                                         static_cast<double>(std::numeric_limits<float>::max())));
  out.counts = counts_;
  return out;
}

}  // namespace narrow::calibration
