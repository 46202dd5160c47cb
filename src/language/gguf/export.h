// Writes a language model as one GGUF file that llama.cpp runs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "language/checkpoint.h"
#include "narrow/progress.h"

namespace narrow::language {

struct GgufRequest {
  const Checkpoint* model = nullptr;      // as it was opened: shape, config.json, the folder of its tokenizer
  const WeightSource* weights = nullptr;  // what is written: the model's own, or quantized ones
  std::string path;
  std::string type = "Q4_K_M";            // gguf/mixture.h
  std::string recipe;                     // kept in the metadata unless empty
  // The importance of each column of a module's weight (the mean of its inputs' squares), empty where it is not known.
  std::function<std::vector<float>(const std::string& module)> importance;
  base::ThreadPool* pool = nullptr;       // null: one thread
  Progress progress;
};

// Weights that are codes of groups of 32 already, with f16 scales and no zero points, keep them in Q4_0 and Q8_0. All others
// are widened to f32 and encoded again. No more than a few rows a thread are in memory at once. The file is complete or absent.
// Errors: unsupported (a family, a tokenizer), invalid_argument (a type; a weight that is not finite, naming it), io.
Status write_gguf(const GgufRequest& request);

}  // namespace narrow::language
