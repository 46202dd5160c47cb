// From a checkpoint to a quantized one: block by block, or weight by weight where a method needs no data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "language/checkpoint.h"
#include "language/quantize/block_quantizer.h"
#include "language/quantize/budget.h"
#include "narrow/progress.h"

namespace narrow::language {

struct LanguageJob {
  const Checkpoint* model = nullptr;
  quantizers::Recipe recipe;
  std::vector<std::vector<std::int64_t>> sequences;  // calibration, all of one length; for methods that need data
  std::string out;                                   // what the format writes: a folder or a file; must not exist
  std::string format;                                // a row of export_formats(); empty: by the method
  std::uint64_t max_memory = 0;                      // bytes that may be resident; calibration tokens beyond are spilled. 0: no limit
  bool resume = false;                               // go on where an interrupted run stopped
  int threads = 1;
  Progress progress;
};

struct LanguageResult {
  std::vector<LinearOutcome> linears;
  std::string format;
  std::string recipe;                                // TOML, as embedded
  std::uint64_t bytes_before = 0, bytes_after = 0;   // of the files
  std::int64_t resumed_blocks = 0;
  Budget budget;                                     // where the recipe has one
};

// What quantizing will take, before it is done.
struct LanguageEstimate {
  std::uint64_t memory = 0;      // bytes, at most resident
  std::uint64_t spilled = 0;     // bytes of calibration tokens in temporary files beside the output; 0: they stay in memory
  double operations = 0;         // multiplications and additions, the methods' own work included
};
LanguageEstimate estimate(const LanguageJob& job);

// `<out>.partial` holds what is unfinished; it is gone when the work is done and stays when it is interrupted.
// Errors: invalid_argument (recipe, out exists), unsupported (the format cannot hold the result), what calibration reports.
Result<LanguageResult> quantize_checkpoint(const LanguageJob& job);

// The weights as they are, in another format.
struct ConvertJob {
  const Checkpoint* model = nullptr;
  std::string out, format;
  int threads = 1;
  Progress progress;
};
Status convert_checkpoint(const ConvertJob& job);

}  // namespace narrow::language
