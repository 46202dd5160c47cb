// Runs graphs over a data set, samples in parallel.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "datasets/dataset.h"
#include "graph/graph.h"
#include "narrow/progress.h"
#include "narrow/result.h"
#include "runtime/session.h"

namespace narrow::evaluation {

using Outputs = std::vector<Tensor>;

struct SweepOptions {
  int threads = 1;
  std::string_view phase = "evaluating";
  Progress progress;
};

// What one worker does with the samples it gets; made once per worker, in the calling thread.
class Worker {
 public:
  virtual ~Worker() = default;
  virtual Status visit(std::size_t index, const datasets::Sample& sample) = 0;
};
// `threads`: how many the worker's sessions may use themselves.
using MakeWorker = std::function<Result<std::unique_ptr<Worker>>(int threads)>;

// Every sample is visited once, by any worker: results belong in slots by index, so that they do not depend on the number
// of threads. The error returned is that of the first sample (by index) that failed, naming it.
Status sweep(const datasets::Dataset& data, const SweepOptions& options, const MakeWorker& make_worker);

}  // namespace narrow::evaluation
