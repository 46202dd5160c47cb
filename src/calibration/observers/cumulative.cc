#include <algorithm>
#include <cmath>

#include "calibration/observers/choose.h"

namespace narrow::calibration {
namespace {

// Moments of `count` values spread evenly over [a, b].
Cumulative::Moments uniform(double count, double a, double b) {
  return {count, count * (a + b) / 2, count * (a * a + a * b + b * b) / 3};
}

}  // namespace

Range within_seen(Range range, const ValueStatistics& statistics) {
  const float min = std::clamp(range.min, statistics.seen.min, statistics.seen.max);
  return {min, std::clamp(range.max, min, statistics.seen.max)};
}

Cumulative::Cumulative(const ValueStatistics& statistics, bool without_zeros)
    : low_(statistics.histogram.low),
      width_((static_cast<double>(statistics.histogram.high) - statistics.histogram.low) / static_cast<double>(statistics.histogram.counts.size())),
      counts_(statistics.histogram.counts.begin(), statistics.histogram.counts.end()) {
  if (without_zeros && low_ <= 0) {
    const double cell = std::floor(-low_ / width_);
    if (cell < static_cast<double>(counts_.size())) {
      double& count = counts_[static_cast<std::size_t>(cell)];
      count = std::max(0.0, count - static_cast<double>(statistics.zeros));
    }
  }
  sums_.emplace_back();
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    const double start = low_ + static_cast<double>(i) * width_;
    const Moments cell = uniform(counts_[i], start, start + width_);
    const Moments& last = sums_.back();
    sums_.push_back({last.count + cell.count, last.first + cell.first, last.second + cell.second});
  }
}

Cumulative::Moments Cumulative::below(double x) const {
  const double position = (x - low_) / width_;
  if (!(position > 0)) return {};
  if (position >= static_cast<double>(counts_.size())) return sums_.back();
  const auto cell = static_cast<std::size_t>(position);
  const double start = low_ + static_cast<double>(cell) * width_;
  const Moments part = uniform(counts_[cell] * (position - static_cast<double>(cell)), start, x);
  return {sums_[cell].count + part.count, sums_[cell].first + part.first, sums_[cell].second + part.second};
}

double Cumulative::quantile(double share) const {
  const double target = std::clamp(share, 0.0, 1.0) * total().count;
  const auto after = std::lower_bound(sums_.begin() + 1, sums_.end(), target,
                                      [](const Moments& m, double t) { return m.count < t; });
  const auto cell = static_cast<std::size_t>(std::min(after, sums_.end() - 1) - sums_.begin()) - 1;
  const double inside = counts_[cell] > 0 ? (target - sums_[cell].count) / counts_[cell] : 0.0;
  return low_ + (static_cast<double>(cell) + std::clamp(inside, 0.0, 1.0)) * width_;
}

}  // namespace narrow::calibration
