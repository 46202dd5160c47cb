// Carries a decision out: quantizes, judges, and on a miss tries the next remedy until the targets are met or none is left.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/figures.h"
#include "narrow/progress.h"
#include "narrow/result.h"
#include "planning/decision.h"
#include "planning/judge.h"
#include "quantizers/quantizer.h"

namespace narrow::planning {

struct Limits {
  double max_drop = 2.0;                      // percent, as Judge measures it
  std::optional<double> max_latency_ms;
  std::optional<std::uint64_t> max_size;      // bytes of the file
};

struct Weight {
  std::uint64_t size = 0;
  std::optional<double> latency_ms;
};

struct SearchRequest {
  const graph::Model* model = nullptr;
  quantizers::Recipe base;                    // what the caller fixed; its method is not read
  bool observer_fixed = false;                // the caller chose the observer
  std::vector<std::string> methods;           // in the order to try
  Facts facts;
  const targets::Target* target = nullptr;
  Priority priority = Priority::kLatency;
  Limits limits;
  std::shared_ptr<const datasets::Dataset> calibration;   // null when there are no data
  std::shared_ptr<const datasets::Dataset> evaluation;    // what the verdict rests on
  int threads = 1;
  Progress progress;
  std::function<Result<Weight>(const graph::Model&)> weigh;  // asked only where a limit needs it
};

struct SearchResult {
  quantizers::Outcome outcome;
  quantizers::Recipe recipe;                  // replays the outcome
  std::vector<Attempt> attempts;              // every one, in order; `chosen` marks the outcome's
  bool met = false;                           // all limits
  Judgement judgement;
  Metrics reference;
  std::vector<quantizers::NoiseSource> sensitivity;
  std::vector<quantizers::FrontierPoint> frontier;
  std::size_t frontier_chosen = 0;
};

// The result is never worse, by the judge, than the plain form of the first method that ran. Errors: those of the first method when
// no other could run either.
Result<SearchResult> search(const SearchRequest& request);

}  // namespace narrow::planning
