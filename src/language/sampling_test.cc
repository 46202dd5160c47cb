#include "language/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace narrow::language {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f};

std::map<std::int64_t, int> draw(const SamplingOptions& options, int times = 4000, std::vector<std::int64_t> seen = {}) {
  Sampler sampler(options);
  std::map<std::int64_t, int> counts;
  for (int i = 0; i < times; ++i) ++counts[sampler.choose(kLogits, seen)];
  return counts;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLikeliest) { EXPECT_EQ(draw({}, 10), (std::map<std::int64_t, int>{{1, 10}})); }

TEST(Sampler, FollowsTheProbabilities) {
  const auto counts = draw({.temperature = 1, .seed = 5});
  double sum = 0;
  for (const float logit : kLogits) sum += std::exp(logit);
  for (std::size_t i = 0; i < kLogits.size(); ++i) {
    const double expected = std::exp(kLogits[i]) / sum, deviation = std::sqrt(expected * (1 - expected) / 4000);
    EXPECT_NEAR((counts.contains(static_cast<std::int64_t>(i)) ? counts.at(static_cast<std::int64_t>(i)) : 0) / 4000.0, expected, 5 * deviation) << i;
  }
  EXPECT_EQ(counts, draw({.temperature = 1, .seed = 5})) << "one seed, one sequence";
  EXPECT_NE(counts, draw({.temperature = 1, .seed = 6}));
}

TEST(Sampler, KeepsOnlyWhatItIsToldTo) {
  const auto kept = [](const SamplingOptions& options) {
    std::vector<std::int64_t> tokens;
    for (const auto& [token, count] : draw(options)) tokens.push_back(token);
    return tokens;
  };
  EXPECT_EQ(kept({.temperature = 1, .top_k = 2}), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(kept({.temperature = 1, .top_p = 0.39}), (std::vector<std::int64_t>{1}));        // the likeliest has 0.397
  EXPECT_EQ(kept({.temperature = 1, .top_p = 0.5}), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(kept({.temperature = 1, .min_p = 0.3}), (std::vector<std::int64_t>{1, 2, 3}));  // e^-1 of the likeliest is 0.37
}

TEST(Sampler, PenalizesRepetition) {
  SamplingOptions options;
  options.repetition_penalty = 2;
  const std::vector<std::int64_t> seen = {1, 3, 3, 99};
  EXPECT_EQ(Sampler(options).choose(kLogits, seen), 2);
}

}  // namespace
}  // namespace narrow::language
