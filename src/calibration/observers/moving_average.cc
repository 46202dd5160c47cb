#include "calibration/observers/choose.h"

namespace narrow::calibration {

Range choose_moving_average(const ValueStatistics& statistics, const ObserverOptions&) {
  return within_seen(statistics.moving_average, statistics);
}

}  // namespace narrow::calibration
