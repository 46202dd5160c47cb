// Whether a quantized model is good enough: the float model's outputs are kept, so that many candidates can be measured
// against them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "evaluation/reference.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow::planning {

struct Judgement {
  Metrics metrics;
  std::optional<double> drop;    // points of the task metric, or percent of samples whose best class differs, or of the outputs' power that is noise
  double risk = 0;               // the larger of the drop and of what to expect of other samples: few of them may be lucky
  double noise = 0;              // noise power over signal power at the outputs
  bool met = false;
};

// Without labels every change of class counts as lost, and a standard error more is asked for; with labels classes also come back, and
// the error of a few hundred samples would be more than any target. Nothing where outputs are no scores of classes.
std::optional<double> expected_of_others(const Metrics& metrics);

class Judge {
 public:
  // Errors: what running the float model reports.
  static Result<Judge> open(const graph::Graph& reference, std::shared_ptr<const datasets::Dataset> data, double max_drop, int threads, const Progress& progress);

  Result<Judgement> judge(const graph::Graph& quantized) const;
  const Metrics& reference() const { return reference_->metrics(); }
  std::size_t samples() const { return reference_->metrics().samples; }
  std::string measure() const;   // "points of top-1", "% of best classes", "% noise"

 private:
  std::shared_ptr<const evaluation::Reference> reference_;
  double max_drop_ = 0;
};

}  // namespace narrow::planning
