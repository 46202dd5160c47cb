// A model's outputs over a data set, kept so that others can be measured against them one after the other.
#pragma once

#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "evaluation/accuracy.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow::evaluation {

class Reference {
 public:
  // Outputs are kept up to `memory` bytes; of what does not fit, the model runs again for each measurement.
  static Result<Reference> run(const graph::Graph& model, std::shared_ptr<const datasets::Dataset> data, const SweepOptions& options,
                               std::uint64_t memory = 1u << 30);

  // The model's own figures; agreement is present (100) when its outputs are class scores.
  const Metrics& metrics() const { return metrics_; }
  // The same figures as measure_metrics() with this model as reference.
  Result<Metrics> measure(const graph::Graph& model) const;

 private:
  graph::Graph graph_;
  std::shared_ptr<const datasets::Dataset> data_;
  SweepOptions options_;
  std::vector<Outputs> outputs_;       // by sample; empty where they did not fit
  Metrics metrics_;
};

}  // namespace narrow::evaluation
