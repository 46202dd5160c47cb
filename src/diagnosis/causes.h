// The tests for single causes. Each looks at one kind of evidence and returns a finding, or nothing.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "diagnosis/calibration_data.h"
#include "diagnosis/pairing.h"
#include "diagnosis/probe.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"
#include "targets/target.h"

namespace narrow::diagnosis {

// What all tests look at.
struct Evidence {
  const graph::Graph& reference;
  const graph::Graph& quantized;
  const graph::Uses& reference_uses;
  const Pairing& pairing;
  std::span<const SiteStatistics> live;             // by activation site
  std::span<const SiteStatistics> float_inputs;     // of pairing.floats: what they read
  std::span<const std::string> samples;             // names
  const targets::Target* target;
  double sqnr_db;                                   // of the outputs, as the model is
  // SQNR of the outputs of a mended copy of the quantized model.
  std::function<Result<double>(const graph::Graph&)> measure;
};

using Findings = std::vector<Finding>;

// With gains: calibration ranges that do not fit live data (one finding, without saying why they do not fit), channels far
// larger than the others, weights with one scale for all channels, weights and biases that are not the float model's.
Status find_ranges(const Evidence& evidence, Findings& findings);
Status find_outlier_channels(const Evidence& evidence, Findings& findings);
Status find_weights(const Evidence& evidence, Findings& findings);
Status find_biases(const Evidence& evidence, Findings& findings);

// Without gains, from the models alone: NaN and infinities, dead channels, weights left in float (and
// channels that may be why), what the target refuses
// or cannot fuse, sums that overflow.
void find_non_finite(const Evidence& evidence, Findings& findings);
void find_dead_channels(const Evidence& evidence, Findings& findings);
void find_float_weights(const Evidence& evidence, Findings& findings);
void find_outliers_behind_float(const Evidence& evidence, Findings& findings);
void find_refused(const Evidence& evidence, Findings& findings);
void find_overflow(const Evidence& evidence, Findings& findings);

}  // namespace narrow::diagnosis
