// Watches one value during calibration, fed tensor by tensor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibration/histogram.h"
#include "calibration/statistics.h"
#include "tensor/tensor.h"

namespace narrow::calibration {

// What one sample showed.
struct SampleSummary {
  float min = 0, max = 0;  // of the finite elements, when count != 0
  std::uint64_t count = 0, non_finite = 0, zeros = 0;
  double sum = 0, sum_squares = 0;
  std::vector<double> channel_sums;  // see add_channels
};

// Reads the values once, block by block in the first-level cache. With `histogram` the finite ones are counted there;
// `tables` is the thread's working memory for that (HistogramFiller).
void observe(std::span<const float> values, SampleSummary& summary, AdaptiveHistogram* histogram, std::vector<std::uint32_t>& tables);

// Adds the tensor's sums over everything but `axis`. Precondition: 0 <= axis < rank of `shape`, which `values` fill.
void add_channels(std::span<const float> values, const Shape& shape, int axis, std::vector<double>& sums);

// Appends a sample to the statistics; call in sample order. `constant` is the weight of the new sample in the moving
// average. Histograms are not touched.
void append(ValueStatistics& statistics, const SampleSummary& summary, double constant, const std::string& sample_name);

}  // namespace narrow::calibration
