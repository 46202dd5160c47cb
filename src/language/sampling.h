// Choosing the next token from a model's logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace narrow::language {

struct SamplingOptions {
  double temperature = 0;         // 0: the likeliest token, always
  std::int64_t top_k = 0;         // of so many likeliest; 0: all
  double top_p = 1;               // of the likeliest that together reach this probability (Holtzman et al. 2019, arXiv:1904.09751)
  double min_p = 0;               // not those less likely than this times the likeliest
  double repetition_penalty = 1;  // logits of tokens that occurred: divided when positive, multiplied when negative (arXiv:1909.05858)
  std::uint64_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}

  // `seen` are the tokens so far. Of equal logits the first wins. Precondition: logits is not empty.
  std::int64_t choose(std::span<const float> logits, std::span<const std::int64_t> seen);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<float> scores_;
  std::vector<std::int64_t> order_;
};

}  // namespace narrow::language
