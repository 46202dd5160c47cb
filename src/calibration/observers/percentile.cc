#include <algorithm>

#include "calibration/observers/choose.h"

namespace narrow::calibration {

Range choose_percentile(const ValueStatistics& statistics, const ObserverOptions& options) {
  if (statistics.histogram.counts.empty()) return statistics.seen;
  const Cumulative values(statistics, false);
  const double tail = (1 - std::clamp(options.percentile, 0.0, 100.0) / 100) / 2;
  return within_seen({static_cast<float>(values.quantile(tail)), static_cast<float>(values.quantile(1 - tail))}, statistics);
}

}  // namespace narrow::calibration
