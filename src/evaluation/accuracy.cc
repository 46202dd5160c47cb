#include "evaluation/accuracy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "evaluation/session.h"
#include "evaluation/similarity.h"

namespace narrow::evaluation {
namespace {

std::uint64_t count_non_finite(const Tensor& tensor) {
  if (tensor.dtype() != DType::kF32) return 0;
  const auto values = tensor.data<float>();
  return static_cast<std::uint64_t>(std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); }));
}

// Labelled data make the first output class scores by definition; without labels a single output must look like them.
// A sentence of a scored pair has an embedding instead.
bool has_scores(std::span<const Tensor> outputs, const datasets::Sample& sample) {
  const bool labelled = sample.label.has_value();
  if (sample.score || outputs.empty() || outputs[0].size() < 2 || !is_float(outputs[0].dtype())) return false;
  return is_class_scores(outputs[0].shape()) && (labelled || outputs.size() == 1);
}

class MetricsWorker final : public Worker {
 public:
  MetricsWorker(std::vector<std::unique_ptr<runtime::Session>> sessions, std::span<const std::vector<std::string>> output_names,
                std::vector<std::vector<SampleRecord>>& records)
      : sessions_(std::move(sessions)), output_names_(output_names), records_(records) {}

  Status visit(std::size_t index, const datasets::Sample& sample) override {
    Outputs reference;
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
      auto outputs = sessions_[i]->run(sample.inputs);
      if (!outputs.ok()) return std::move(outputs).error().context(fmt::format("in model {}", i + 1));
      SampleRecord& record = records_[i][index];
      NARROW_TRY(record, record_sample(sample, *outputs, reference));
      if (sample.score) record.embedding = sentence_embedding(sample, *outputs, output_names_[i]);
      if (i == 0) reference = *std::move(outputs);  // valid until this session's next run
    }
    return {};
  }

 private:
  std::vector<std::unique_ptr<runtime::Session>> sessions_;
  std::span<const std::vector<std::string>> output_names_;  // by model
  std::vector<std::vector<SampleRecord>>& records_;
};

float margin_of(std::span<const float> scores, std::int64_t of) {
  float others = -INFINITY;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (static_cast<std::int64_t>(i) != of && scores[i] > others) others = scores[i];
  }
  return scores[static_cast<std::size_t>(of)] - others;
}

// Of a sample's neighbours by margin, at least so many lend it their changes, and at least this share of all.
constexpr std::size_t kNeighbours = 16;
constexpr double kShareOfNeighbours = 0.125;

// Percent of samples that fall to another class on average, less those that come back (without labels none can: the reference is
// always right): each sample's margin is met by the changes of margin that samples with margins like its own saw. A few flips among
// few samples are luck; this says what to expect of others, and with which standard error.
std::optional<std::pair<double, double>> expected_drop(std::span<const SampleRecord> records) {
  std::vector<std::pair<double, double>> seen;  // reference margin, its change
  for (const SampleRecord& record : records) {
    if (!record.margin || !record.reference_margin) return std::nullopt;
    const double change = static_cast<double>(*record.margin) - *record.reference_margin;
    seen.emplace_back(*record.reference_margin, std::isfinite(change) ? change : -INFINITY);
  }
  if (seen.empty()) return std::nullopt;
  std::sort(seen.begin(), seen.end());
  const std::size_t n = seen.size(), around = std::min(n, std::max(kNeighbours, static_cast<std::size_t>(kShareOfNeighbours * static_cast<double>(n))));
  double lost = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t first = std::min(i - std::min(i, around / 2), n - around);
    const bool right = seen[i].first > 0;
    double other = 0;
    for (std::size_t j = first; j < first + around; ++j) other += (seen[i].first + seen[j].second > 0) != right;
    const double share = (right ? other : -other) / static_cast<double>(around);
    lost += share;
    squares += share * share;
  }
  const double mean = lost / static_cast<double>(n);
  return std::pair(100.0 * mean, 100.0 * std::sqrt(std::max(squares / static_cast<double>(n) - mean * mean, 0.0) / static_cast<double>(n)));
}

// Percent; nothing unless all samples are pairs of embeddings.
std::optional<double> rank_correlation(std::span<const SampleRecord> records) {
  std::vector<double> scores, similarities;
  if (records.empty() || records.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < records.size(); i += 2) {
    const SampleRecord &a = records[i], &b = records[i + 1];
    if (!a.score || !b.score || a.embedding.empty() || a.embedding.size() != b.embedding.size()) return std::nullopt;
    scores.push_back(*a.score);
    similarities.push_back(cosine_similarity(a.embedding, b.embedding));
  }
  return 100.0 * spearman(scores, similarities);
}

}  // namespace

std::vector<std::int64_t> best_classes(std::span<const float> scores, std::size_t k) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto better = [&](std::int64_t a, std::int64_t b) {
    const float x = scores[static_cast<std::size_t>(a)], y = scores[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) || (std::isnan(y) && a < b);
    return x > y || (x == y && a < b);
  };
  k = std::min(k, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(), better);
  order.resize(k);
  return order;
}

bool is_class_scores(std::span<const std::int64_t> shape) {
  return std::count_if(shape.begin(), shape.end(), [](std::int64_t d) { return d != 1; }) == 1;
}

Result<SampleRecord> record_sample(const datasets::Sample& sample, std::span<const Tensor> outputs,
                                   std::span<const Tensor> reference_outputs) {
  SampleRecord record;
  record.label = sample.label;
  record.score = sample.score;
  for (const Tensor& output : outputs) record.non_finite += count_non_finite(output);
  const bool scores = has_scores(outputs, sample);
  if (scores) {
    if (sample.label && (*sample.label < 0 || *sample.label >= outputs[0].size())) {
      return invalid_argument(fmt::format("label {} is not one of the model's {} classes (0 to {})", *sample.label,
                                          outputs[0].size(), outputs[0].size() - 1))
          .hint("Check the labels file, or give another one with --labels.");
    }
    record.best = best_classes(outputs[0].to_float(), 5);
  }
  for (std::size_t i = 0; i < std::min(outputs.size(), reference_outputs.size()); ++i) {
    if (!add_tensors(record.difference, reference_outputs[i], outputs[i])) {
      return invalid_argument(fmt::format("output {} has shape {} in one model and {} in the reference", i,
                                          to_string(outputs[i].shape()), to_string(reference_outputs[i].shape())))
          .hint("Compare a model with the model it was made from.");
    }
  }
  if (scores && !reference_outputs.empty()) {
    const std::vector<float> own = outputs[0].to_float(), reference = reference_outputs[0].to_float();
    record.reference_best = best_classes(reference, 5);
    const std::int64_t right = sample.label.value_or(record.reference_best[0]);
    record.margin = margin_of(own, right);
    record.reference_margin = margin_of(reference, right);
  }
  return record;
}

Metrics summarize(std::span<const SampleRecord> records, bool has_reference) {
  Metrics metrics;
  metrics.samples = records.size();
  Difference difference;
  std::uint64_t labelled = 0, top1 = 0, top5 = 0, scored = 0, agreeing = 0;
  for (const SampleRecord& record : records) {
    metrics.non_finite += record.non_finite;
    difference.merge(record.difference);
    if (record.label && !record.best.empty()) {
      ++labelled;
      if (record.best[0] == *record.label) ++top1;
      if (std::find(record.best.begin(), record.best.end(), *record.label) != record.best.end()) ++top5;
    }
    if (!record.best.empty() && !record.reference_best.empty()) {
      ++scored;
      if (record.best[0] == record.reference_best[0]) ++agreeing;
    }
  }
  const auto percent = [](std::uint64_t part, std::uint64_t whole) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  if (labelled != 0 && labelled == records.size()) {
    metrics.top1 = percent(top1, labelled);
    metrics.top5 = percent(top5, labelled);
  }
  if (scored != 0 && scored == records.size()) metrics.agreement = percent(agreeing, scored);
  if (const auto expected = has_reference ? expected_drop(records) : std::nullopt) std::tie(metrics.expected_drop, metrics.expected_error) = *expected;
  metrics.spearman = rank_correlation(records);
  if (has_reference && difference.elements != 0) {
    metrics.sqnr_db = difference.sqnr_db();
    metrics.cosine = difference.cosine();
    metrics.max_error = difference.max_error;
  }
  return metrics;
}

Result<std::vector<Metrics>> measure_metrics(std::span<const graph::Graph* const> models, const datasets::Dataset& data,
                                             const SweepOptions& options) {
  std::vector<std::vector<SampleRecord>> records(models.size(), std::vector<SampleRecord>(data.size()));
  std::vector<std::vector<std::string>> output_names(models.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    for (const graph::ValueId id : models[i]->outputs) output_names[i].push_back(models[i]->value(id).name);
  }
  NARROW_RETURN_IF_ERROR(sweep(data, options, [&](int threads) -> Result<std::unique_ptr<Worker>> {
    std::vector<std::unique_ptr<runtime::Session>> sessions;
    for (const graph::Graph* model : models) {
      runtime::SessionOptions session_options;
      session_options.threads = threads;
      NARROW_TRY(auto session, open_session(*model, session_options));
      sessions.push_back(std::move(session));
    }
    return std::unique_ptr<Worker>(std::make_unique<MetricsWorker>(std::move(sessions), output_names, records));
  }));
  std::vector<Metrics> metrics;
  for (std::size_t i = 0; i < models.size(); ++i) metrics.push_back(summarize(records[i], i != 0));
  return metrics;
}

}  // namespace narrow::evaluation
