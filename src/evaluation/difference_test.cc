#include "evaluation/difference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace narrow::evaluation {
namespace {

TEST(Difference, FollowsItsDefinitions) {
  const std::vector<float> x = {3, 4, 0}, y = {3, 3, 1};
  Difference d;
  d.add(x, y);
  EXPECT_DOUBLE_EQ(d.sqnr_db(), 10 * std::log10(25.0 / 2.0));
  EXPECT_DOUBLE_EQ(d.cosine(), (9.0 + 12.0) / (5.0 * std::sqrt(19.0)));
  EXPECT_DOUBLE_EQ(d.max_error, 1);
  EXPECT_EQ(d.low, 0);
  EXPECT_EQ(d.high, 4);
}

TEST(Difference, InPiecesEqualsAtOnce) {
  std::vector<float> x, y;
  for (int i = 0; i < 1000; ++i) {
    x.push_back(std::sin(static_cast<float>(i)));
    y.push_back(std::round(x.back() * 16) / 16);
  }
  Difference whole, pieces;
  whole.add(x, y);
  for (std::size_t at = 0; at < 1000; at += 100) {
    Difference piece;
    piece.add(std::span(x).subspan(at, 100), std::span(y).subspan(at, 100));
    pieces.merge(piece);
  }
  EXPECT_NEAR(whole.sqnr_db(), pieces.sqnr_db(), 1e-9);
  EXPECT_EQ(whole.max_error, pieces.max_error);
  EXPECT_EQ(whole.elements, pieces.elements);
  EXPECT_NEAR(whole.sqnr_db(), 10 * std::log10(0.5 / (1.0 / 256 / 12)), 0.5);  // uniform noise of a step of 1/16
}

TEST(Difference, EqualAndZeroTensorsHaveDefinedResults) {
  const std::vector<float> x = {1, 2}, zero = {0, 0};
  Difference same, empty, lost, invented;
  same.add(x, x);
  EXPECT_EQ(same.sqnr_db(), 200);
  EXPECT_NEAR(same.cosine(), 1, 1e-12);
  empty.add(zero, zero);
  EXPECT_EQ(empty.sqnr_db(), 200);
  EXPECT_EQ(empty.cosine(), 1);
  lost.add(x, zero);
  EXPECT_EQ(lost.sqnr_db(), 0);
  EXPECT_EQ(lost.cosine(), 0);
  invented.add(zero, x);
  EXPECT_EQ(invented.sqnr_db(), -200);
}

TEST(Difference, CountsNonFiniteValuesAndLeavesThemOut) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Difference d;
  d.add(std::vector<float>{1, 2, 3}, std::vector<float>{1, nan, inf});
  EXPECT_EQ(d.non_finite, 2u);
  EXPECT_EQ(d.elements, 1u);
  EXPECT_EQ(d.sqnr_db(), 200);
}

TEST(Difference, RefusesTensorsThatDoNotMatch) {
  Difference d;
  EXPECT_FALSE(add_tensors(d, Tensor::from<float>({2}, {1, 2}), Tensor::from<float>({1, 2}, {1, 2})));
  EXPECT_FALSE(add_tensors(d, Tensor::from_strings({1}, {"a"}), Tensor::from_strings({1}, {"a"})));
  EXPECT_TRUE(add_tensors(d, Tensor::from<std::int64_t>({2}, {1, 2}), Tensor::from<std::int64_t>({2}, {1, 4})));
  EXPECT_EQ(d.max_error, 2);
}

}  // namespace
}  // namespace narrow::evaluation
