// Speed and memory of models, each measured in a process of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "narrow/figures.h"
#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow {

struct BenchOptions {
  int threads = 1;
  double seconds = 2.0;                 // of measured runs, per model
  std::uint64_t min_runs = 20;
  std::uint64_t seed = 0;               // of random inputs
  std::string data, preprocess, tokenizer;  // real inputs; random ones when empty
  // Shapes of random inputs, by name: needed where a model's dimensions are not fixed and 1 is not a sensible size.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  // Samples of one run: the first dimension of every input, where it is open or 1 in the file. 0: as the model has it.
  std::uint64_t batch = 0;
  bool explain = false;                 // fill BenchResult::kernels
  Progress progress;
};

// Starting one forks a small process that later forks one child per model: so measurements are not disturbed by what the
// calling process did meanwhile, and peak memory is that of the model alone.
class Bench {
 public:
  // Start it early: the calling process may have one thread only. Errors: invalid_argument (there are more), io.
  static Result<Bench> start();
  Bench(Bench&&) noexcept;
  Bench& operator=(Bench&&) noexcept;
  ~Bench();

  // Warm-up, then short bursts of the models in turn, so that a drift of the machine meets all alike. Errors: those of
  // loading and running, naming the model.
  Result<std::vector<BenchResult>> run(const std::vector<std::string>& models, const BenchOptions& options = {});

 private:
  struct Impl;
  explicit Bench(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace narrow
