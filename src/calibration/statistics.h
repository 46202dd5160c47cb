// What calibration remembers about one value, in fixed memory whatever the number of samples and their shapes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace narrow::calibration {

struct Range {
  float min = 0, max = 0;
  bool operator==(const Range&) const = default;
};

// Equal bins over [low, high]; finite values outside are counted in the edge bins never: the range grows first.
struct Histogram {
  float low = 0, high = 0;
  std::vector<std::uint64_t> counts;
};

struct ValueStatistics {
  Range seen;                        // smallest and largest finite value
  Range moving_average;              // of the samples' minima and maxima, in sample order
  std::uint64_t count = 0;           // finite elements seen
  std::uint64_t non_finite = 0;      // NaN and infinities, not counted in anything else
  std::uint64_t zeros = 0;
  double sum = 0, sum_squares = 0;
  Histogram histogram;               // empty unless the observer needs it or the report wants it
  std::string first_non_finite;      // the sample where one was first seen
  std::vector<double> channel_sums;  // empty unless asked for, or when the number of channels changed between samples
  bool channels_differ = false;

  // Mean of each channel; empty when it is not known (see channel_sums) or a NaN or infinity spoilt it.
  std::vector<double> channel_means() const {
    if (channel_sums.empty() || count == 0 || non_finite > 0) return {};
    std::vector<double> means = channel_sums;
    for (double& mean : means) mean /= static_cast<double>(count) / static_cast<double>(channel_sums.size());
    return means;
  }
};

// How far the ranges had come after so many samples.
struct Convergence {
  std::uint64_t samples = 0;
  double coverage = 0;               // mean over the values of the width of their range by then over its width at the end
};

// A sample without which some ranges would be much narrower.
struct OutlierSample {
  std::string name;
  std::uint64_t values = 0;          // whose ranges it alone stretches
  double factor = 1;                 // the most by which it stretches one
};

struct CalibrationTable {
  std::map<std::string, ValueStatistics> values;  // by value name
  std::uint64_t samples = 0;
  std::string observer;                           // as asked
  std::vector<Convergence> convergence;           // after 1, 2, 4, … samples and at the end
  std::vector<OutlierSample> outliers;            // that stretch most ranges first
  const ValueStatistics* find(const std::string& value) const {
    const auto it = values.find(value);
    return it == values.end() ? nullptr : &it->second;
  }
};

}  // namespace narrow::calibration
