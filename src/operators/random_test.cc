// What random operators promise: the distribution, the same numbers from the same seed, and new ones in the next run.
#include <memory>

#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

struct Moments { double mean = 0, deviation = 0, least = INFINITY, most = -INFINITY; };
Moments moments(const Tensor& x) {
  Moments m;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double v = x.at_as_double(i);
    m.mean += v / static_cast<double>(x.size());
    m.least = std::min(m.least, v);
    m.most = std::max(m.most, v);
  }
  for (std::int64_t i = 0; i < x.size(); ++i) m.deviation += std::pow(x.at_as_double(i) - m.mean, 2) / static_cast<double>(x.size());
  m.deviation = std::sqrt(m.deviation);
  return m;
}

const Attributes kSeeded = {{"seed", 7.0f}, {"shape", std::vector<std::int64_t>{100, 200}}};
Attributes with(Attributes base, Attributes more) {
  base.insert(base.end(), more.begin(), more.end());
  return base;
}

TEST(Random, NormalHasItsMeanAndDeviation) {
  for (DType dtype : float_types()) {
    const std::int64_t number = dtype == DType::kF32 ? 1 : dtype == DType::kF64 ? 11 : dtype == DType::kF16 ? 10 : 16;
    const Tensor y = run1("RandomNormal", {}, with(kSeeded, {{"mean", 3.0f}, {"scale", 2.0f}, {"dtype", number}}));
    ASSERT_EQ(y.dtype(), dtype);
    ASSERT_EQ(y.shape(), (Shape{100, 200}));
    const Moments m = moments(y);
    EXPECT_NEAR(m.mean, 3, 0.06);
    EXPECT_NEAR(m.deviation, 2, 0.06);
    EXPECT_LT(m.least, -2);
    EXPECT_GT(m.most, 8);
  }
}

TEST(Random, UniformFillsItsRange) {
  const Moments m = moments(run1("RandomUniform", {}, with(kSeeded, {{"low", -1.0f}, {"high", 4.0f}})));
  EXPECT_NEAR(m.mean, 1.5, 0.05);
  EXPECT_NEAR(m.deviation, 5 / std::sqrt(12.0), 0.03);
  EXPECT_GE(m.least, -1);
  EXPECT_LE(m.most, 4);
  EXPECT_LT(m.least, -0.99);
  EXPECT_GT(m.most, 3.99);
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.byte_span().begin(), a.byte_span().end(), b.byte_span().begin());
}

TEST(Random, RepeatsFromItsSeedAndItsName) {
  EXPECT_TRUE(same(run1("RandomNormal", {}, kSeeded), run1("RandomNormal", {}, kSeeded)));
  Attributes other = kSeeded;
  other[0].value = 8.0f;
  EXPECT_FALSE(same(run1("RandomNormal", {}, kSeeded), run1("RandomNormal", {}, other)));
  const Attributes unseeded = {{"shape", std::vector<std::int64_t>{16}}};
  EXPECT_TRUE(same(run1("RandomUniform", {}, unseeded), run1("RandomUniform", {}, unseeded)));
  EXPECT_FALSE(same(run1("RandomUniform", {}, unseeded), run1("RandomUniform", {}, {{"shape", std::vector<std::int64_t>{16}}, {"seed", 1.0f}})));
}

TEST(Random, LikeTakesShapeAndTypeFromItsInput) {
  const Tensor x = fill(DType::kF16, {3, 5}, [](std::int64_t) { return 0; });
  EXPECT_EQ(run1("RandomNormalLike", {x}).dtype(), DType::kF16);
  EXPECT_EQ(run1("RandomUniformLike", {x}, {{"dtype", std::int64_t{11}}}).dtype(), DType::kF64);
  EXPECT_EQ(run1("RandomUniformLike", {x}).shape(), x.shape());
  EXPECT_EQ(inferred("RandomNormalLike", {f32({sym("N"), 3})}), "f32[N,3]");
  EXPECT_EQ(inferred("RandomNormal", {}, {{"shape", std::vector<std::int64_t>{2, 3}}}), "f32[2,3]");
}

TEST(Random, RefusesShapesAndTypesThatAreNone) {
  EXPECT_FALSE(run("RandomNormal", {}, {{"shape", std::vector<std::int64_t>{-1}}}).ok());
  EXPECT_FALSE(run("RandomNormal", {}, {{"shape", std::vector<std::int64_t>{std::int64_t{1} << 40, std::int64_t{1} << 40}}}).ok());
  EXPECT_FALSE(run("RandomNormal", {}, {{"shape", std::vector<std::int64_t>{2}}, {"dtype", std::int64_t{7}}}).ok());
  EXPECT_FALSE(run("RandomUniformLike", {ints({1, 2})}).ok());
}

TEST(Bernoulli, DrawsOnesAsOftenAsItsInputSays) {
  const Tensor chance = fill(DType::kF32, {4, 5000}, [](std::int64_t i) { return std::array{0.0, 0.25, 0.75, 1.0}[static_cast<std::size_t>(i / 5000)]; });
  const Tensor y = run1("Bernoulli", {chance}, {{"dtype", std::int64_t{9}}});
  ASSERT_EQ(y.dtype(), DType::kBool);
  for (std::int64_t row = 0; row < 4; ++row) {
    double ones = 0;
    for (std::int64_t i = 0; i < 5000; ++i) ones += y.at_as_double(row * 5000 + i);
    EXPECT_NEAR(ones / 5000, chance.at_as_double(row * 5000), row == 0 || row == 3 ? 0 : 0.03);
  }
}

TEST(Multinomial, DrawsClassesByTheirWeights) {
  const Tensor logits = fill(DType::kF32, {2, 3}, [](std::int64_t i) { return std::log(std::array{1.0, 2.0, 7.0, 5.0, 0.0, 5.0}[static_cast<std::size_t>(i)]); });
  const Tensor y = run1("Multinomial", {logits}, {{"sample_size", std::int64_t{10000}}, {"dtype", std::int64_t{7}}});
  ASSERT_EQ(y.dtype(), DType::kS64);
  ASSERT_EQ(y.shape(), (Shape{2, 10000}));
  const double expected[2][3] = {{0.1, 0.2, 0.7}, {0.5, 0, 0.5}};
  for (std::int64_t row = 0; row < 2; ++row) {
    double seen[3] = {};
    for (std::int64_t i = 0; i < 10000; ++i) seen[static_cast<std::size_t>(y.at_as_double(row * 10000 + i))] += 1e-4;
    for (int c = 0; c < 3; ++c) EXPECT_NEAR(seen[c], expected[row][c], expected[row][c] == 0 ? 0 : 0.02);
  }
  EXPECT_FALSE(run("Multinomial", {logits}, {{"sample_size", std::int64_t{0}}}).ok());
  EXPECT_FALSE(run("Multinomial", {fill(DType::kF32, {2, 0}, [](std::int64_t) { return 0; })}).ok());
}

}  // namespace
}  // namespace narrow::operators::testing
