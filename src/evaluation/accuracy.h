// The task metrics of a model: top-1 and top-5 on labelled data, Spearman's correlation on scored pairs, agreement with and distance from a reference model.
#pragma once

#include <optional>
#include <span>

#include "datasets/dataset.h"
#include "evaluation/difference.h"
#include "evaluation/sweep.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/result.h"

namespace narrow::evaluation {

// The indices of the k largest scores, best first; equal scores in order of index, NaN last.
std::vector<std::int64_t> best_classes(std::span<const float> scores, std::size_t k);

// Whether a tensor of this shape holds the scores of classes: exactly one dimension is larger than 1.
bool is_class_scores(std::span<const std::int64_t> shape);

// What one sample says, kept by sample index.
struct SampleRecord {
  std::optional<std::int64_t> label;
  std::vector<std::int64_t> best, reference_best;   // up to five classes; empty when outputs are not class scores
  // The score of the label, or of the reference's best class, over the best of the others: in this model and in the reference.
  std::optional<float> margin, reference_margin;
  Difference difference;                            // all outputs against the reference's
  std::uint64_t non_finite = 0;
  std::optional<double> score;                      // of the pair that the sample belongs to
  std::vector<float> embedding;                     // of such a sample; empty when the output is none
};

// Errors: invalid_argument when a label is not one of the classes.
Result<SampleRecord> record_sample(const datasets::Sample& sample, std::span<const Tensor> outputs,
                                   std::span<const Tensor> reference_outputs);

// Samples with scores are pairs, one after the other.
Metrics summarize(std::span<const SampleRecord> records, bool has_reference);

// Every model on every sample; the first is the reference of the others. The same figures whatever the number of threads.
Result<std::vector<Metrics>> measure_metrics(std::span<const graph::Graph* const> models, const datasets::Dataset& data,
                                             const SweepOptions& options);

}  // namespace narrow::evaluation
