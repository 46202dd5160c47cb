// How far a copy of the quantized model is from the float model, at the outputs.
#pragma once

#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::diagnosis {

// Keeps the float model's outputs, so that each copy costs one run a sample.
class OutputMeter {
 public:
  // Errors: what running the float model reports.
  static Result<OutputMeter> create(const graph::Graph& reference, std::shared_ptr<const datasets::Dataset> data,
                                    const evaluation::SweepOptions& options);

  // Signal to noise in dB, the mean over samples: one sample with large outputs does not decide. Errors: what running reports.
  Result<double> measure(const graph::Graph& quantized) const;

 private:
  std::shared_ptr<const datasets::Dataset> data_;
  evaluation::SweepOptions options_;
  std::vector<evaluation::Outputs> expected_;   // by sample
};

}  // namespace narrow::diagnosis
