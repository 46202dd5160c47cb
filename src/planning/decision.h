// The decision path: from what is known of a model, its data and its target to a method, and to what is tried when that
// misses.
#pragma once

#include <string>
#include <vector>

#include "narrow/figures.h"
#include "narrow/result.h"
#include "planning/facts.h"
#include "quantizers/recipe.h"
#include "targets/target.h"

namespace narrow::planning {

enum class Priority { kLatency, kSize, kAccuracy };

// Errors: invalid_argument.
Result<Priority> parse_priority(const std::string& name);  // "latency", "size", "accuracy"

struct Wishes {
  bool retraining = false;                   // the caller could train the model again
  Priority priority = Priority::kLatency;
  double max_drop = 2.0;                     // percent
  const targets::Target* target = nullptr;
};

struct Decision {
  std::vector<PlanStep> path;
  std::vector<std::string> methods;          // in the order they are tried, the one chosen first
  std::string reason;                        // of the first, in one sentence
  std::vector<std::string> notes;            // what the caller should know: training is deferred, …
};

// Errors: unsupported, when nothing can be gained.
Result<Decision> decide(const Facts& facts, const Wishes& wishes);

}  // namespace narrow::planning
