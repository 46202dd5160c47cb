#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/observers/choose.h"

namespace narrow::calibration {
namespace {

constexpr int kCoarse = 64, kFine = 16;

}  // namespace

double expected_error(const Cumulative& values, double low, double high, const encodings::AffineGrid& grid) {
  const encodings::AffineParams params = encodings::affine_params(static_cast<float>(low), static_cast<float>(high), grid);
  const double scale = params.scale;
  const double bottom = (grid.quant_min - params.zero_point) * scale, top = (grid.quant_max - params.zero_point) * scale;
  const Cumulative::Moments below = values.below(bottom), above = values.total() - values.below(top);
  const auto distance = [](const Cumulative::Moments& m, double to) { return m.second - 2 * to * m.first + to * to * m.count; };
  const double inside = values.total().count - below.count - above.count;
  const double clipped = std::max(0.0, distance(below, bottom)) + std::max(0.0, distance(above, top));
  return kClippingWeight * clipped + inside * scale * scale / 12;
}

Range choose_mse(const ValueStatistics& statistics, const ObserverOptions& options) {
  if (statistics.histogram.counts.empty() || statistics.seen.min == statistics.seen.max) return statistics.seen;
  const Cumulative values(statistics, true);  // exact zeros have no error on any grid
  const double min = std::min(0.0f, statistics.seen.min), max = std::max(0.0f, statistics.seen.max);
  double best = std::numeric_limits<double>::infinity();
  double best_low = 1, best_high = 1;  // shares of min and max
  const auto consider = [&](double low, double high) {
    const double error = expected_error(values, low * min, high * max, options.grid);
    if (error < best) {
      best = error;
      best_low = low;
      best_high = high;
    }
  };
  // An end at zero has nothing to search. A symmetric grid follows the farther end only.
  const int low_steps = min < 0 ? kCoarse : 1, high_steps = max > 0 ? kCoarse : 1;
  if (options.grid.symmetric) {
    const double reach = std::max(-min, max);
    const auto at = [&](double share) { consider(min < 0 ? std::min(1.0, share * reach / -min) : 1, max > 0 ? std::min(1.0, share * reach / max) : 1); };
    double share = 1, found = 1;
    for (int i = kCoarse; i >= 1; --i) {
      const double before = best;
      share = static_cast<double>(i) / kCoarse;
      at(share);
      if (best < before) found = share;
    }
    for (int i = -kFine; i <= kFine; ++i) at(std::clamp(found + static_cast<double>(i) / (kFine * kCoarse), 1e-6, 1.0));
  } else {
    for (int i = low_steps; i >= 1; --i) {
      for (int j = high_steps; j >= 1; --j) consider(static_cast<double>(i) / low_steps, static_cast<double>(j) / high_steps);
    }
    const double low = best_low, high = best_high;
    const int low_fine = min < 0 ? kFine : 0, high_fine = max > 0 ? kFine : 0;
    for (int i = -low_fine; i <= low_fine; ++i) {
      for (int j = -high_fine; j <= high_fine; ++j) {
        consider(std::clamp(low + static_cast<double>(i) / (kFine * low_steps), 1e-6, 1.0), std::clamp(high + static_cast<double>(j) / (kFine * high_steps), 1e-6, 1.0));
      }
    }
  }
  return within_seen({static_cast<float>(best_low * min), static_cast<float>(best_high * max)}, statistics);
}

}  // namespace narrow::calibration
