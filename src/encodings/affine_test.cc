#include "encodings/affine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace narrow::encodings {
namespace {

constexpr AffineGrid kU8{0, 255, false}, kS8{-128, 127, false}, kS8Symmetric{-127, 127, true}, kU8Symmetric{0, 255, true};

TEST(AffineParams, CoversTheRangeAndZeroIsExact) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-10, 10);
  for (int i = 0; i < 2000; ++i) {
    const float a = uniform(random), b = uniform(random), low = std::min(a, b), high = std::max(a, b);
    for (const AffineGrid& grid : {kU8, kS8, kS8Symmetric, kU8Symmetric, AffineGrid{0, 15, false}}) {
      const AffineParams p = affine_params(low, high, grid);
      ASSERT_GT(p.scale, 0);
      ASSERT_GE(p.zero_point, grid.quant_min);
      ASSERT_LE(p.zero_point, grid.quant_max);
      EXPECT_EQ(dequantize_one(quantize_one(0.0f, p, grid), p), 0.0f);
      // No value of the range is off by more than one step (half a step, and half for the rounded zero point).
      for (float x : {low, high, (low + high) / 2}) {
        EXPECT_LE(std::abs(dequantize_one(quantize_one(x, p, grid), p) - x), p.scale * 1.001f);
      }
    }
  }
}

TEST(AffineParams, SymmetricGridsHaveAFixedZeroPoint) {
  EXPECT_EQ(affine_params(-1, 3, kS8Symmetric), (AffineParams{3.0f / 127, 0}));
  EXPECT_EQ(affine_params(-1, 3, kU8Symmetric).zero_point, 128);
}

TEST(AffineParams, DegenerateRangesStayFinite) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const AffineGrid& grid : {kU8, kS8, kS8Symmetric}) {
    for (auto [low, high] : {std::pair{0.f, 0.f}, {1e-40f, 2e-40f}, {-inf, 1.f}, {nan, nan}}) {
      const AffineParams p = affine_params(low, high, grid);
      EXPECT_EQ(p.scale, 1.0f);
      EXPECT_EQ(quantize_one(0.0f, p, grid), p.zero_point);
    }
    const AffineParams huge = affine_params(-3e38f, 3e38f, grid);
    EXPECT_TRUE(std::isfinite(huge.scale));
  }
}

TEST(Quantize, HalfToEvenAndSaturating) {
  const AffineParams p{1.0f, 0};
  EXPECT_EQ(quantize_one(0.5f, p, kS8), 0);
  EXPECT_EQ(quantize_one(1.5f, p, kS8), 2);
  EXPECT_EQ(quantize_one(-2.5f, p, kS8), -2);
  EXPECT_EQ(quantize_one(1e30f, p, kS8), 127);
  EXPECT_EQ(quantize_one(-std::numeric_limits<float>::infinity(), p, kS8), -128);
  EXPECT_EQ(quantize_one(std::numeric_limits<float>::quiet_NaN(), p, kS8), 0);
}

TEST(Quantize, SpansRoundTripOnTheGrid) {
  std::vector<float> x;
  for (int q = 0; q <= 255; ++q) x.push_back(static_cast<float>(q - 17) * 0.037f);
  const AffineParams p{0.037f, 17};
  std::vector<std::uint8_t> q(x.size());
  quantize<std::uint8_t>(x, p, kU8, q);
  for (int i = 0; i <= 255; ++i) EXPECT_EQ(q[i], i);
  std::vector<float> back(x.size());
  dequantize<std::uint8_t>(q, p, back);
  EXPECT_EQ(back, x);
}

}  // namespace
}  // namespace narrow::encodings
