// Runs the float graph over a data set and records statistics of chosen values (streamed; see statistics.h).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "calibration/statistics.h"
#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::calibration {

struct CalibrateOptions {
  std::string observer = "min_max";        // decides whether histograms are kept
  std::vector<std::string> values;         // by name; graph inputs allowed
  std::map<std::string, int> channel_axes; // of `values`: those whose channel means are kept, with the axis of the channels
  std::size_t samples = 0;                 // 0: the whole data set
  int threads = 1;
  int histogram_bins = 2048;
  double moving_average_constant = 0.01;   // weight of a new sample
  bool always_histogram = false;           // for reports
  std::function<void(std::size_t done, std::size_t total)> progress;
};

// The result is the same for any number of threads. Errors: what reading or running a sample reports (naming the
// sample); invalid_argument for an empty data set or a value that does not exist.
Result<CalibrationTable> calibrate(const graph::Graph& graph, const datasets::Dataset& data,
                                   const CalibrateOptions& options);

}  // namespace narrow::calibration
