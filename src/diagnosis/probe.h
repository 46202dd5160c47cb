// Live data through the float model, seen at every activation that the quantized model holds in integers.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "diagnosis/pairing.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::diagnosis {

struct SampleRange {
  float min = 0, max = 0;
  double clipped = 0;                 // squared error of what lies outside the site's range
};

// What one activation site saw.
struct SiteStatistics {
  double min = 0, max = 0;            // finite values
  double signal = 0;                  // sum of squares
  double clipped = 0;                 // squared error by clipping to the site's range
  double rounded = 0;                 // squared error by rounding what was not clipped
  std::uint64_t count = 0, outside = 0, non_finite = 0;
  std::vector<double> channel_largest;  // largest absolute value by channel; empty when the shape has no channels
  std::vector<double> channel_rms;
  std::vector<SampleRange> samples;   // by sample

  double sqnr_db() const;             // of the site's quantization alone
};

// Statistics by site, in the order of `sites`; the same whatever the number of threads. Errors: what reading or running a
// sample reports.
Result<std::vector<SiteStatistics>> probe(const graph::Graph& reference, std::span<const ActivationSite> sites,
                                          const datasets::Dataset& data, const evaluation::SweepOptions& options);

}  // namespace narrow::diagnosis
