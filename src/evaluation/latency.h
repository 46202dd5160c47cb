// Latency and peak memory of workloads, each in a process of its own, measured in turns.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "narrow/figures.h"
#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow::evaluation {

// Something that can be run again and again: a model with its inputs.
class Workload {
 public:
  virtual ~Workload() = default;
  virtual Status run() = 0;
  virtual void describe(BenchResult& result) = 0;  // fills the batch, the bytes of weights and arena, the estimate of energy, and the kernels
};

struct Contestant {
  std::string name;
  std::function<Result<std::unique_ptr<Workload>>()> make;  // called in the child process
};

struct LatencyOptions {
  double seconds = 2.0;          // of measured runs, per contestant
  std::uint64_t min_runs = 20;
  Progress progress;
};

// Forks one child per contestant. Precondition: this process has one thread. Errors: those of make and run, naming the
// contestant; resource_exhausted when a child was killed.
Result<std::vector<BenchResult>> measure_latency(const std::vector<Contestant>& contestants, const LatencyOptions& options);

// The value below which `share` of the sorted values lie, interpolated.
double quantile(std::vector<double> values, double share);

void pack(class Packer& packer, const BenchResult& result);
BenchResult unpack_bench_result(class Unpacker& unpacker);

}  // namespace narrow::evaluation
