// What the data that a model was calibrated on must have looked like: its ranges are compared with those that live data give,
// as they are, after each of the usual mistakes of preprocessing, and for few samples instead of many.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "diagnosis/pairing.h"
#include "diagnosis/probe.h"
#include "evaluation/sweep.h"
#include "narrow/result.h"

namespace narrow::diagnosis {

// A change of the model's inputs: reversed channels, then x * scale + shift.
struct InputChange {
  std::string cause;           // "channel_order", "value_range" or "mean": the mistake that such a change undoes
  std::string name;            // for people: "channels in reverse order"
  bool reversed = false;       // along axis 1 of a picture of three channels
  double scale = 1, shift = 0;
  bool identity() const { return !reversed && scale == 1 && shift == 0; }
};

// The data set with every float input changed so.
std::unique_ptr<datasets::Dataset> changed(std::shared_ptr<const datasets::Dataset> data, const InputChange& change);

// Of one sample's float inputs, zero included.
struct InputRange {
  double low = 0, high = 0;
  bool picture = false;        // one has three channels in the second dimension
};
InputRange input_range(const datasets::Sample& sample);

// The usual mistakes that apply to inputs of this range: [0, 255] for [0, 1], RGB for BGR, …
std::vector<InputChange> usual_changes(double low, double high, bool pictures);

struct Explanation {
  InputChange change;
  std::string observer;        // that makes ranges most like the model's of such data
  double misfit = 0;           // mean over the ranges' ends, in deviations between groups of live samples
};

// All explanations tried, best first; empty when no site has a range to compare. `live`: statistics of `data` itself. Each is
// judged by the observer that suits it best, and what moves all ends alike (more samples) does not count.
Result<std::vector<Explanation>> explain_ranges(const graph::Graph& reference, std::span<const ActivationSite> sites,
                                                std::span<const SiteStatistics> live,
                                                std::shared_ptr<const datasets::Dataset> data, const evaluation::SweepOptions& options);

}  // namespace narrow::diagnosis
