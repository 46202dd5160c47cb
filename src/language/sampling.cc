#include "language/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

namespace narrow::language {

std::int64_t Sampler::choose(std::span<const float> logits, std::span<const std::int64_t> seen) {
  scores_.assign(logits.begin(), logits.end());
  if (options_.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const std::int64_t token : std::unordered_set<std::int64_t>(seen.begin(), seen.end())) {
      if (token < 0 || token >= static_cast<std::int64_t>(scores_.size())) continue;
      float& score = scores_[static_cast<std::size_t>(token)];
      score = score > 0 ? score / penalty : score * penalty;
    }
  }
  if (options_.temperature <= 0) return std::max_element(scores_.begin(), scores_.end()) - scores_.begin();

  order_.resize(scores_.size());
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
  const auto likelier = [&](std::int64_t a, std::int64_t b) {
    const float x = scores_[static_cast<std::size_t>(a)], y = scores_[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::size_t kept = order_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept), order_.end(), likelier);
  order_.resize(kept);

  const double best = scores_[static_cast<std::size_t>(order_.front())];
  std::vector<double> weights;
  double sum = 0;
  for (const std::int64_t token : order_) {
    weights.push_back(std::exp((scores_[static_cast<std::size_t>(token)] - best) / options_.temperature));
    sum += weights.back();
  }
  double reached = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    // The likeliest always stays; the one that reaches top_p is the last.
    if (i > 0 && (weights[i] < options_.min_p || reached >= options_.top_p * sum)) {
      weights.resize(i);
      break;
    }
    reached += weights[i];
  }
  double at = static_cast<double>(random_() >> 11) * 0x1p-53 * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    at -= weights[i];
    if (at < 0) return order_[i];
  }
  return order_[weights.size() - 1];
}

}  // namespace narrow::language
