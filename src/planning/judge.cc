#include "planning/judge.h"

#include <algorithm>
#include <cmath>

namespace narrow::planning {

std::optional<double> expected_of_others(const Metrics& metrics) {
  if (!metrics.expected_drop) return std::nullopt;
  return *metrics.expected_drop + (metrics.top1 ? 0 : metrics.expected_error.value_or(0));
}

Result<Judge> Judge::open(const graph::Graph& reference, std::shared_ptr<const datasets::Dataset> data, double max_drop, int threads, const Progress& progress) {
  Judge judge;
  judge.max_drop_ = max_drop;
  NARROW_TRY(evaluation::Reference kept, evaluation::Reference::run(reference, std::move(data), {threads, "running the float model", progress}));
  judge.reference_ = std::make_shared<const evaluation::Reference>(std::move(kept));
  return judge;
}

std::string Judge::measure() const {
  const Metrics& metrics = reference_->metrics();
  return metrics.top1 ? "points of top-1" : metrics.spearman ? "points of Spearman" : metrics.agreement ? "% of best classes" : "% noise";
}

Result<Judgement> Judge::judge(const graph::Graph& quantized) const {
  Judgement judgement;
  NARROW_TRY(judgement.metrics, reference_->measure(quantized));
  const Metrics &found = judgement.metrics, &before = reference_->metrics();
  judgement.noise = found.sqnr_db ? std::pow(10.0, -*found.sqnr_db / 10) : 0;
  if (before.top1 && found.top1) judgement.drop = *before.top1 - *found.top1;
  else if (before.spearman && found.spearman) judgement.drop = *before.spearman - *found.spearman;
  else if (found.agreement) judgement.drop = 100.0 - *found.agreement;
  else if (found.sqnr_db) judgement.drop = 100.0 * judgement.noise;
  judgement.risk = std::max(judgement.drop.value_or(0), expected_of_others(found).value_or(judgement.drop.value_or(0)));
  judgement.met = found.non_finite <= before.non_finite && judgement.risk <= max_drop_ + 1e-9;
  return judgement;
}

}  // namespace narrow::planning
