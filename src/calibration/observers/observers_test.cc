#include "calibration/observers/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "calibration/observers/choose.h"
#include "calibration/value_observer.h"

namespace narrow::calibration {
namespace {

constexpr encodings::AffineGrid kU8{0, 255, false}, kS8{-128, 127, false}, kS8Symmetric{-128, 127, true};

ValueStatistics observed(const std::vector<float>& x, int bins = 2048) {
  ValueStatistics statistics;
  AdaptiveHistogram histogram(2 * bins);
  std::vector<std::uint32_t> tables;
  SampleSummary summary;
  observe(x, summary, &histogram, tables);
  append(statistics, summary, 0.01, "sample");
  statistics.histogram = histogram.result();
  return statistics;
}

template <typename Distribution>
std::vector<float> draw(Distribution distribution, std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(distribution(random));
  return x;
}

std::vector<float> gaussian(std::size_t n = 200000) { return draw(std::normal_distribution<double>(0, 1), n, 5); }

std::vector<float> laplace(std::size_t n = 200000) {
  std::vector<float> x = draw(std::uniform_real_distribution<double>(-0.5, 0.5), n, 6);
  for (float& v : x) v = std::copysign(-std::log(1 - 2 * std::abs(v) + 1e-12f), v);
  return x;
}

std::vector<float> relu(std::vector<float> x) {
  for (float& v : x) v = std::max(0.0f, v);
  return x;
}

Range choose(std::string_view name, const ValueStatistics& statistics, const encodings::AffineGrid& grid, double percentile = 99.999) {
  return (*find_observer(name))->choose(statistics, {percentile, grid});
}

// Mean squared error of quantizing x; values outside the grid by more than a rounding count `clipped` times.
double squared_error(const std::vector<float>& x, const Range& range, const encodings::AffineGrid& grid, double clipped = 1) {
  const auto params = encodings::affine_params(range.min, range.max, grid);
  double sum = 0;
  for (float v : x) {
    const double d = v - encodings::dequantize_one(encodings::quantize_one(v, params, grid), params);
    sum += d * d * (std::abs(d) > 0.5001 * params.scale ? clipped : 1);
  }
  return sum / static_cast<double>(x.size());
}

TEST(Observers, TableAndNames) {
  std::vector<std::string> names;
  for (const Observer& o : observers()) names.emplace_back(o.name);
  EXPECT_EQ(names, (std::vector<std::string>{"min_max", "moving_average", "percentile", "entropy", "mse"}));
  const auto missing = find_observer("entropi");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().to_string().find("entropy"), std::string::npos);
}

// Whatever the values, a range is finite, in order and inside what was seen.
TEST(Observers, RangesStayInsideWhatWasSeen) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::vector<float>> sets = {gaussian(20000), laplace(20000), relu(gaussian(20000)), {5.0f}, {-5.0f, -5.0f}, {0.0f, 0.0f},
                                          {1e-42f, -3e-41f, 2e-40f}, {nan, 1, 2, std::numeric_limits<float>::infinity()},
                                          {-std::numeric_limits<float>::max(), std::numeric_limits<float>::max()}, {3, 3, 3, 4}};
  sets.push_back(gaussian(20000));
  sets.back()[77] = 1e30f;
  sets.push_back(std::vector<float>(5000, -1.0f));
  sets.back()[0] = -1e-30f;
  for (std::size_t set = 0; set < sets.size(); ++set) {
    const ValueStatistics statistics = observed(sets[set]);
    for (const Observer& observer : observers()) {
      for (const auto& grid : {kU8, kS8, kS8Symmetric, encodings::AffineGrid{0, 15, false}, encodings::AffineGrid{0, 65535, false}}) {
        const Range r = observer.choose(statistics, {99.9, grid});
        EXPECT_TRUE(std::isfinite(r.min) && std::isfinite(r.max)) << observer.name << " set " << set;
        EXPECT_LE(r.min, r.max) << observer.name << " set " << set;
        EXPECT_GE(r.min, statistics.seen.min) << observer.name << " set " << set;
        EXPECT_LE(r.max, statistics.seen.max) << observer.name << " set " << set;
      }
    }
  }
}

TEST(Observers, MinMaxIsWhatWasSeen) {
  EXPECT_EQ(choose("min_max", observed({-3, 1, 7, 2}), kU8), (Range{-3, 7}));
}

TEST(Observers, NonFiniteValuesAreCountedAndLeftOut) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x(10000, 2.0f);
  x[5] = inf;
  x[6000] = std::nanf("");
  x[9999] = -4;
  const ValueStatistics s = observed(x);
  EXPECT_EQ(s.non_finite, 2u);
  EXPECT_EQ(s.count, 9998u);
  EXPECT_EQ(s.seen, (Range{-4, 2}));
  EXPECT_EQ(s.sum, 2.0 * 9997 - 4);
  EXPECT_EQ(s.first_non_finite, "sample");
}

TEST(Observers, MovingAverageFollowsTheSamples) {
  ValueStatistics s;
  for (const auto& [min, max] : {std::pair{-1.0f, 1.0f}, {-2.0f, 3.0f}, {-1.0f, 101.0f}}) {
    append(s, {min, max, 10, 0, 0, 0, 0}, 0.25, "x");
  }
  // 1 -> 1 + 0.25 * 2 = 1.5 -> 1.5 + 0.25 * 99.5 = 26.375
  EXPECT_FLOAT_EQ(choose("moving_average", s, kU8).max, 26.375f);
  EXPECT_FLOAT_EQ(choose("moving_average", s, kU8).min, -1.25f + 0.25f * 0.25f);
}

TEST(Observers, PercentileIsTheQuantile) {
  std::vector<float> x = gaussian();
  const ValueStatistics s = observed(x);
  std::sort(x.begin(), x.end());
  for (double p : {99.9, 99.0, 90.0, 50.0}) {
    const Range r = choose("percentile", s, kU8, p);
    const double tail = (1 - p / 100) / 2;
    EXPECT_NEAR(r.min, x[static_cast<std::size_t>(tail * x.size())], 0.01) << p;
    EXPECT_NEAR(r.max, x[static_cast<std::size_t>((1 - tail) * x.size())], 0.01) << p;
  }
  EXPECT_EQ(choose("percentile", s, kU8, 100), s.seen);
}

TEST(Observers, PercentileIgnoresRareOutliers) {
  std::vector<float> x = gaussian();
  x[3] = 60;
  const Range r = choose("percentile", observed(x), kU8, 99.99);
  EXPECT_NEAR(r.max, 3.89, 0.2);  // the 99.995 % quantile of a Gaussian
}

// The best range found by trying many on the values themselves is hardly better than the one from the histogram.
TEST(Observers, MseIsNearTheBestRange) {
  std::vector<float> outlier = gaussian();
  outlier[9] = 40;
  for (const auto& x : {gaussian(), laplace(), relu(gaussian()), relu(laplace()), outlier}) {
    const ValueStatistics s = observed(x);
    for (const auto& grid : {kU8, kS8Symmetric, encodings::AffineGrid{0, 15, false}}) {
      const double found = squared_error(x, choose("mse", s, grid), grid, kClippingWeight);
      double best = squared_error(x, s.seen, grid, kClippingWeight);
      EXPECT_LE(found, best * 1.01);
      for (int i = 1; i <= 40; ++i) {
        const float share = static_cast<float>(i) / 40;
        best = std::min(best, squared_error(x, {s.seen.min * share, s.seen.max * share}, grid, kClippingWeight));
      }
      EXPECT_LE(found, best * 1.03) << "grid " << grid.quant_max << " range " << choose("mse", s, grid).max;
    }
  }
}

TEST(Observers, MseClipsAFourBitGridHard) {
  // For the plain squared error the optimum of a unit Gaussian at 4 bits symmetric is about 2.55 (Banner et al. 2019);
  // clipped values counting three times move it outwards.
  const Range r = choose("mse", observed(gaussian()), {-8, 7, true});
  EXPECT_GT(r.max, 2.55);
  EXPECT_LT(r.max, 3.3);
}

// The divergence as the definition says it: clip, quantize to levels, spread over the filled cells, sum p log(p / q).
double divergence(const Histogram& h, std::uint64_t zeros, double limit, int levels) {
  const double width = (static_cast<double>(h.high) - h.low) / static_cast<double>(h.counts.size());
  const auto kept = static_cast<std::size_t>(std::floor(limit / width));
  std::vector<double> raw(h.counts.begin(), h.counts.begin() + static_cast<std::ptrdiff_t>(kept));
  raw[0] -= static_cast<double>(zeros);
  std::vector<double> p = raw, q(kept, 0);
  for (std::size_t i = kept; i < h.counts.size(); ++i) p.back() += static_cast<double>(h.counts[i]);
  for (int level = 0; level < levels; ++level) {
    const std::size_t from = kept * level / levels, to = kept * (level + 1) / levels;
    double mass = 0, filled = 0;
    for (std::size_t i = from; i < to; ++i) { mass += raw[i]; filled += p[i] > 0; }
    for (std::size_t i = from; i < to; ++i) q[i] = p[i] > 0 ? mass / filled : 0;
  }
  double sum_p = 0, sum_q = 0, kl = 0;
  for (double v : p) sum_p += v;
  for (double v : q) sum_q += v;
  for (std::size_t i = 0; i < kept; ++i) {
    if (p[i] > 0) kl += p[i] / sum_p * std::log((p[i] / sum_p) / (std::max(q[i], 1e-4) / sum_q));
  }
  return kl;
}

TEST(Observers, EntropyMinimisesTheDivergenceOfAOneSidedDistribution) {
  std::vector<float> x = relu(laplace());
  x[1] = 30;
  const ValueStatistics s = observed(x);
  ASSERT_EQ(s.histogram.low, 0);
  const Range r = choose("entropy", s, {0, 15, false});
  EXPECT_EQ(r.min, 0);
  EXPECT_LT(r.max, 16) << "a lone outlier must not set the range";
  const double found = divergence(s.histogram, s.zeros, r.max, 16);
  for (double limit = s.seen.max; limit > 2.5; limit *= 0.93) {
    EXPECT_LE(found, divergence(s.histogram, s.zeros, limit, 16) * 1.05 + 1e-9) << limit << " against " << r.max;
  }
}

TEST(Observers, EntropyNeverCutsWhatCostsMoreThanItBrings) {
  // Heavy tails: the rare large values hold the energy, and the divergence alone cuts them off.
  // A quarter more is what the cells of the histogram cannot tell apart.
  for (double power : {-0.4, -0.5, -0.6}) {
    std::vector<float> x(100000);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(std::pow((static_cast<double>(i) + 0.5) / static_cast<double>(x.size()), power));
    }
    const ValueStatistics s = observed(x);
    const Range r = choose("entropy", s, kU8);
    EXPECT_LE(squared_error(x, r, kU8), squared_error(x, s.seen, kU8) * 1.25) << power << ": up to " << r.max << " of " << s.seen.max;
  }
}

TEST(Observers, EntropyKeepsTheShortSideOfASwish) {
  std::vector<float> x = gaussian();
  for (float& v : x) v = 3 * v / (1 + std::exp(-3 * v));
  const ValueStatistics s = observed(x);
  const Range r = choose("entropy", s, kU8);
  EXPECT_EQ(r.min, s.seen.min);
  EXPECT_GT(r.max, 4);
}

TEST(Observers, EntropyOfAUniformDistributionKeepsEverything) {
  const std::vector<float> x = draw(std::uniform_real_distribution<double>(-2, 2), 400000, 8);
  for (const auto& grid : {kU8, kS8Symmetric}) {
    const Range r = choose("entropy", observed(x), grid);
    EXPECT_NEAR(r.max, 2, 0.06);
    EXPECT_NEAR(r.min, -2, 0.06);
  }
}

TEST(Observers, ZerosOfAReluDoNotDecide) {
  std::vector<float> x = relu(gaussian());
  const Range with = choose("entropy", observed(x), kU8);
  std::erase(x, 0.0f);
  EXPECT_EQ(choose("entropy", observed(x), kU8).max, with.max);
}

}  // namespace
}  // namespace narrow::calibration
