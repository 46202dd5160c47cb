#include "calibration/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace narrow::calibration {
namespace {

std::vector<float> draw(std::mt19937& random, std::size_t n, int flavour) {
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> x(n);
  for (float& v : x) {
    v = normal(random);
    switch (flavour) {
      case 1: v = std::max(0.0f, v); break;
      case 2: v = std::exp(8 * v); break;                    // a long tail
      case 3: v = 5; break;
      case 4: v = 0; break;
      case 5: v *= 1e-40f; break;                            // denormal
      case 6: v = random() % 50 == 0 ? 3e38f * (v > 0 ? 1 : -1) : v * 1e-30f; break;
      default: break;
    }
  }
  return x;
}

std::uint64_t total(const Histogram& h) { return std::accumulate(h.counts.begin(), h.counts.end(), std::uint64_t{0}); }

void expect_equal(const Histogram& a, const Histogram& b) {
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_EQ(a.counts, b.counts);
}

Histogram counted_one_by_one(const std::vector<float>& x, const Histogram& like) {
  Histogram h{like.low, like.high, std::vector<std::uint64_t>(like.counts.size(), 0)};
  const double width = (static_cast<double>(like.high) - like.low) / static_cast<double>(like.counts.size());
  for (float v : x) ++h.counts[static_cast<std::size_t>(std::floor((static_cast<double>(v) - like.low) / width))];
  return h;
}

TEST(Histogram, CountsWhatACellHolds) {
  std::mt19937 random(1);
  for (int flavour = 0; flavour < 6; ++flavour) {
    const std::vector<float> x = draw(random, 5000, flavour);
    AdaptiveHistogram histogram(512);
    histogram.add(x);
    const Histogram h = histogram.result();
    EXPECT_EQ(total(h), x.size());
    EXPECT_LE(h.counts.size(), 512u);
    EXPECT_LE(h.low, *std::min_element(x.begin(), x.end()));
    EXPECT_GE(h.high, *std::max_element(x.begin(), x.end()));
    EXPECT_NE(h.counts.front(), 0u);
    EXPECT_NE(h.counts.back(), 0u);
    expect_equal(h, counted_one_by_one(x, h));
  }
}

TEST(Histogram, SpreadValuesUseAtLeastHalfTheCells) {
  std::mt19937 random(2);
  AdaptiveHistogram histogram(4096);
  histogram.add(draw(random, 100000, 0));
  EXPECT_GE(histogram.result().counts.size(), 2047u);
}

TEST(Histogram, OrderAndDivisionDoNotMatter) {
  std::mt19937 random(3);
  for (int flavour = 0; flavour < 7; ++flavour) {
    std::vector<float> x = draw(random, 3000, flavour);
    AdaptiveHistogram whole(256);
    whole.add(x);
    std::shuffle(x.begin(), x.end(), random);
    // Three parts of random size, in blocks, merged in both orders.
    const std::size_t a = random() % 1000, b = 1000 + random() % 1000;
    AdaptiveHistogram parts[3] = {AdaptiveHistogram(256), AdaptiveHistogram(256), AdaptiveHistogram(256)};
    const std::span<const float> all(x);
    for (std::size_t i = 0; i < a; ++i) parts[0].add(all.subspan(i, 1));
    parts[1].add(all.subspan(a, b - a));
    parts[2].add(all.subspan(b));
    AdaptiveHistogram left = parts[0];
    left.merge(parts[1]);
    left.merge(parts[2]);
    AdaptiveHistogram right = parts[2];
    AdaptiveHistogram inner = parts[1];
    inner.merge(parts[0]);
    right.merge(inner);
    expect_equal(left.result(), whole.result());
    expect_equal(right.result(), whole.result());
  }
}

TEST(Histogram, FillerCountsAsAdd) {
  std::mt19937 random(4);
  std::vector<std::uint32_t> tables;
  for (int flavour = 0; flavour < 7; ++flavour) {
    AdaptiveHistogram slow(512), fast(512);
    for (std::size_t n : {10, 5000, 3, 4096, 9000}) {
      const std::vector<float> x = draw(random, n, flavour);
      slow.add(x);
      HistogramFiller filler(fast, tables);
      for (std::size_t at = 0; at < n; at += 4096) {
        const auto block = std::span<const float>(x).subspan(at, std::min<std::size_t>(4096, n - at));
        filler.add(block, *std::min_element(block.begin(), block.end()), *std::max_element(block.begin(), block.end()));
      }
    }
    expect_equal(fast.result(), slow.result());
    EXPECT_TRUE(std::all_of(tables.begin(), tables.end(), [](std::uint32_t c) { return c == 0; }));
  }
}

TEST(Histogram, TheLargestFloatsFit) {
  const float most = std::numeric_limits<float>::max();
  AdaptiveHistogram histogram(4096);
  histogram.add(std::vector<float>{-most, 0, most});
  const Histogram h = histogram.result();
  EXPECT_EQ(total(h), 3u);
  EXPECT_TRUE(std::isfinite(h.low) && std::isfinite(h.high));
  EXPECT_EQ(h.low, -most);
}

}  // namespace
}  // namespace narrow::calibration
