#include "quantizers/mixed_precision/mixed_precision.h"

#include <fmt/format.h>

#include "quantizers/mixed_precision/assignment.h"
#include "quantizers/mixed_precision/sensitivity.h"
#include "quantizers/preparation.h"
#include "quantizers/static_int8/static_int8.h"
#include "targets/target.h"

namespace narrow::quantizers {
namespace {

constexpr int kRounds = 6, kReturns = 3;

}  // namespace

Result<Outcome> quantize_mixed(const Request& request) {
  Request step = request;
  step.recipe.method = "static";
  NARROW_TRY(const targets::Target* target, targets::find_target(request.recipe.target));
  NARROW_TRY(const Prepared prepared, prepare_static(step));
  step.keep_histograms = true;
  NARROW_TRY(Outcome outcome, quantize_static(step));
  SensitivityOptions options;
  options.threads = request.threads;
  options.progress = request.progress;
  NARROW_TRY(const Sensitivity sensitivity, measure_sensitivity(prepared.model.graph, outcome.model.graph, *request.data, options));
  const Cost cost = request.recipe.prefer == "size" ? Cost::kSize : Cost::kLatency;
  std::vector<FrontierPoint> frontier = find_frontier(prepared.model.graph, outcome.layers, *target, sensitivity, cost);
  frontier[0].measured = sensitivity.together;

  const double budget = request.recipe.noise_budget;
  const calibration::CalibrationTable table = outcome.calibration;
  step.calibration = &table;
  const std::vector<LayerDecision> plain = outcome.layers;
  std::size_t tried = 0;
  double found = sensitivity.together, last = found;
  Recipe made = step.recipe;
  for (int round = 0; round < kRounds && last > budget; ++round) {
    const std::size_t next = next_point(frontier, tried, last, budget);
    if (next == tried || next + 1 == frontier.size()) break;  // nothing would be left in integers
    tried = next;
    step.recipe.rules = request.recipe.rules;
    for (Rule& rule : rules_of(frontier[next], sensitivity, budget, cost)) step.recipe.rules.push_back(std::move(rule));
    auto attempt = quantize_static(step);
    for (int again = 0; again < kReturns && attempt.ok(); ++again) {
      const std::vector<Rule> against = rules_against_return(plain, attempt->layers);
      if (against.empty()) break;
      step.recipe.rules.insert(step.recipe.rules.end(), against.begin(), against.end());
      attempt = quantize_static(step);
    }
    if (!attempt.ok()) break;
    NARROW_TRY(last, measure_noise(prepared.model.graph, attempt->model.graph, *request.data, options));
    frontier[next].measured = last;
    if (last >= found) continue;
    found = last, made = step.recipe;
    outcome = *std::move(attempt);
    outcome.chosen = next;
  }
  if (found > budget) {
    outcome.warnings.push_back(fmt::format("mixed precision: noise at the outputs is {:.3g} of their power, more than the budget of {:.3g}", found, budget));
  }
  outcome.sensitivity = sensitivity.sources;
  outcome.frontier = std::move(frontier);
  outcome.recipe = std::move(made);
  record(outcome.model, *outcome.recipe);
  return outcome;
}

}  // namespace narrow::quantizers
