// The observers' functions, one a file, and what they share. All return a range inside `statistics.seen`.
#pragma once

#include "calibration/observers/observer.h"

namespace narrow::calibration {

Range choose_min_max(const ValueStatistics& statistics, const ObserverOptions& options);
Range choose_moving_average(const ValueStatistics& statistics, const ObserverOptions& options);
Range choose_percentile(const ValueStatistics& statistics, const ObserverOptions& options);
// NVIDIA, "8-bit Inference with TensorRT", GTC 2017; two-sided ranges as in ONNX Runtime's entropy calibrater. A cut that
// would raise the expected squared error is widened to the range of choose_mse.
Range choose_entropy(const ValueStatistics& statistics, const ObserverOptions& options);
Range choose_mse(const ValueStatistics& statistics, const ObserverOptions& options);

// `range` cut to what was seen.
Range within_seen(Range range, const ValueStatistics& statistics);

// Moments of a histogram's values below any x, taking each cell as uniformly filled.
class Cumulative {
 public:
  // Precondition: the histogram has counts. `without_zeros` leaves out exact zeros, which every affine grid represents.
  Cumulative(const ValueStatistics& statistics, bool without_zeros);

  struct Moments {
    double count = 0, first = 0, second = 0;  // sums of 1, x and x^2
    Moments operator-(const Moments& other) const { return {count - other.count, first - other.first, second - other.second}; }
  };
  Moments below(double x) const;
  Moments total() const { return sums_.back(); }
  // The x below which `share` (0..1) of the values lie.
  double quantile(double share) const;

  double low() const { return low_; }
  double width() const { return width_; }
  std::size_t cells() const { return counts_.size(); }
  const std::vector<double>& counts() const { return counts_; }

 private:
  double low_, width_;
  std::vector<double> counts_;
  std::vector<Moments> sums_;  // below the start of each cell, and in all
};

// How much dearer a squared error is that clipping makes than one that rounding makes. Rounding errors have either sign
// and average out in the sums of the next layer; clipped values all err towards zero, together. The factor is measured
// (docs/decisions/0003-clipping-weight-and-bias-correction.md).
inline constexpr double kClippingWeight = 3;

// Expected squared error of quantizing the values on the grid that covers [low, high]: uniform rounding error inside,
// kClippingWeight times the squared distance to the outermost codes outside.
double expected_error(const Cumulative& values, double low, double high, const encodings::AffineGrid& grid);

}  // namespace narrow::calibration
