// Perplexity of a language model on a text: exp of the mean negative log likelihood that it gives each next token.
#pragma once

#include <cstdint>
#include <span>

#include "language/spec.h"
#include "language/weights.h"
#include "narrow/progress.h"

namespace narrow::language {

struct PerplexityOptions {
  std::int64_t context = 0;   // tokens of a window; 0: 2048, or the model's maximum where that is less
  std::int64_t stride = 0;    // from one window to the next, at most context; 0: context
  std::int64_t windows = 0;   // that many, from the start; 0: all whole ones
  int threads = 1;
  Progress progress;
};

struct Perplexity {
  double perplexity = 0;
  double mean_nll = 0;                       // natural logarithm
  std::int64_t predicted = 0, windows = 0, tokens = 0;  // tokens whose likelihood counts; windows; tokens of the text
  std::int64_t context = 0, stride = 0;
};

// The windows [i · stride, i · stride + context) that lie wholly in `tokens`. Each starts without memory; what an earlier
// window has counted is not counted again, and a window's first token is not predicted.
// Errors: invalid_argument (a text shorter than a window, a context beyond the model's positions), unsupported (a model that
// cannot be run), corrupt.
Result<Perplexity> measure_perplexity(const Spec& spec, const WeightSource& weights, std::span<const std::int64_t> tokens, const PerplexityOptions& options);

}  // namespace narrow::language
