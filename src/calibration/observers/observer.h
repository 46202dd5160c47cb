// An observer turns the statistics of a value into the range its quantization should cover.
#pragma once

#include <span>
#include <string_view>

#include "calibration/statistics.h"
#include "encodings/affine.h"
#include "narrow/result.h"

namespace narrow::calibration {

struct ObserverOptions {
  double percentile = 99.999;      // percentile: share of values kept, both tails together
  encodings::AffineGrid grid;      // the grid the range will be quantized to (entropy and mse search on it)
};

struct Observer {
  std::string_view name;           // "min_max"
  std::string_view summary;
  bool needs_histogram;
  // Precondition: at least one finite element was seen.
  Range (*choose)(const ValueStatistics& statistics, const ObserverOptions& options);
};

std::span<const Observer> observers();  // the table: min_max moving_average percentile entropy mse
// Errors: invalid_argument with the names nearest to `name`.
Result<const Observer*> find_observer(std::string_view name);

}  // namespace narrow::calibration
