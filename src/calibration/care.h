// Whether the calibration samples were enough, and which of them stand out, in memory that does not grow with their number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibration/statistics.h"

namespace narrow::calibration {

class DataCare {
 public:
  explicit DataCare(std::size_t values) : ranges_(values) {}

  // The range of value `value` in the sample; samples in order, every value at most once a sample.
  void see(std::size_t value, float min, float max);
  void end_sample(const std::string& name);

  // Fills convergence and outliers.
  void report(CalibrationTable& table) const;

 private:
  struct Extreme {
    float first = 0, second = 0;         // the furthest, and the next that another sample reached
    std::uint64_t sample = 0;            // that reached the furthest
    std::string name;
  };
  struct Ranges {
    bool any = false;
    Extreme low, high;
  };
  static void reach(Extreme& extreme, float value, bool further, std::uint64_t sample);

  std::vector<Ranges> ranges_;
  std::vector<std::pair<std::uint64_t, std::vector<float>>> widths_;   // after so many samples, by value
  std::vector<std::size_t> named_;       // values whose extreme the current sample reached
  std::uint64_t samples_ = 0;
};

}  // namespace narrow::calibration
