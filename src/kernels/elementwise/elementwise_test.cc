// Every implementation against the C library in double, and against itself at other positions and lengths.
#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace narrow::kernels {
namespace {

std::vector<ElementwiseF32> usable() {
  std::vector<ElementwiseF32> out;
  for (const ElementwiseF32& kernel : elementwise_f32_kernels()) {
    if (kernel.isa <= base::detected_isa()) out.push_back(kernel);
  }
  return out;
}

double relative_error(double found, double expected) {
  if (found == expected) return 0;
  return std::fabs(found - expected) / std::max(std::fabs(expected), 1e-37);
}

TEST(ElementwiseF32, TranscendentalsAreAccurateOverTheirRange) {
  struct Row { UnaryF32 function; double (*f)(double); double low, high; };
  const Row rows[] = {
      {UnaryF32::kExp, [](double x) { return std::exp(x); }, -87, 88.7},
      {UnaryF32::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -85, 90},
      {UnaryF32::kTanh, [](double x) { return std::tanh(x); }, -12, 12},
      {UnaryF32::kTanh, [](double x) { return std::tanh(x); }, -0.7, 0.7},
      {UnaryF32::kTanh, [](double x) { return std::tanh(x); }, 1e-30, 1e-3},
      {UnaryF32::kErf, [](double x) { return std::erf(x); }, -6, 6},
      {UnaryF32::kErf, [](double x) { return std::erf(x); }, 0.9, 0.95},
      {UnaryF32::kErf, [](double x) { return std::erf(x); }, 1e-30, 1e-3},
      {UnaryF32::kGelu, [](double x) { return x * 0.5 * (1 + std::erf(x * std::sqrt(0.5))); }, -0.5, 10},
      {UnaryF32::kSilu, [](double x) { return x / (1 + std::exp(-x)); }, -80, 80},
  };
  constexpr int kCount = 200001;
  for (const ElementwiseF32& kernel : usable()) {
    for (const Row& row : rows) {
      std::vector<float> x(kCount), y(kCount);
      for (int i = 0; i < kCount; ++i) x[i] = static_cast<float>(row.low + (row.high - row.low) * i / (kCount - 1));
      kernel.unary(row.function)(x.data(), y.data(), x.size(), nullptr);
      double worst = 0;
      for (int i = 0; i < kCount; ++i) worst = std::max(worst, relative_error(y[i], row.f(x[i])));
      EXPECT_LT(worst, 3e-7) << to_string(kernel.isa) << " function " << static_cast<int>(row.function);
    }
  }
}

TEST(ElementwiseF32, SpecialNumbers) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const std::vector<float> x = {inf, -inf, nan, 0.0f, -0.0f, 1000, -1000, 89, -104};
  for (const ElementwiseF32& kernel : usable()) {
    std::vector<float> y(x.size());
    const auto apply = [&](UnaryF32 f) { kernel.unary(f)(x.data(), y.data(), x.size(), nullptr); };
    apply(UnaryF32::kExp);
    EXPECT_EQ(y[0], inf); EXPECT_EQ(y[1], 0); EXPECT_TRUE(std::isnan(y[2])); EXPECT_EQ(y[3], 1); EXPECT_EQ(y[5], inf); EXPECT_EQ(y[6], 0);
    EXPECT_EQ(y[7], inf);
    apply(UnaryF32::kSigmoid);
    EXPECT_EQ(y[0], 1); EXPECT_EQ(y[1], 0); EXPECT_TRUE(std::isnan(y[2])); EXPECT_EQ(y[3], 0.5f); EXPECT_EQ(y[6], 0);
    apply(UnaryF32::kTanh);
    EXPECT_EQ(y[0], 1); EXPECT_EQ(y[1], -1); EXPECT_TRUE(std::isnan(y[2])); EXPECT_EQ(y[3], 0); EXPECT_TRUE(std::signbit(y[4])); EXPECT_EQ(y[6], -1);
    apply(UnaryF32::kErf);
    EXPECT_EQ(y[0], 1); EXPECT_EQ(y[1], -1); EXPECT_TRUE(std::isnan(y[2])); EXPECT_EQ(y[3], 0); EXPECT_TRUE(std::signbit(y[4])); EXPECT_EQ(y[6], -1);
    apply(UnaryF32::kGelu);
    EXPECT_EQ(y[0], inf); EXPECT_TRUE(std::isnan(y[2])); EXPECT_EQ(y[3], 0); EXPECT_EQ(y[5], 1000); EXPECT_EQ(y[6], 0);
    const float two = 2;
    kernel.unary(UnaryF32::kReplaceNan)(x.data(), y.data(), x.size(), &two);
    EXPECT_EQ(y[0], inf); EXPECT_EQ(y[1], -inf); EXPECT_EQ(y[2], 2); EXPECT_EQ(y[8], -104);
    apply(UnaryF32::kRelu);
    EXPECT_EQ(y[0], inf); EXPECT_EQ(y[1], 0); EXPECT_TRUE(std::isnan(y[2]));
    const float bounds[] = {-2, 3};
    kernel.unary(UnaryF32::kClip)(x.data(), y.data(), x.size(), bounds);
    EXPECT_EQ(y[0], 3); EXPECT_EQ(y[1], -2); EXPECT_TRUE(std::isnan(y[2]));
  }
}

TEST(ElementwiseF32, ResultsDoNotDependOnPositionOrLength) {
  std::vector<float> x(67);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.37f - 11;
  const float params[] = {0.3f, 0.6f};
  for (const ElementwiseF32& kernel : usable()) {
    for (UnaryF32 function : {UnaryF32::kNegate, UnaryF32::kAbs, UnaryF32::kSqrt, UnaryF32::kRelu, UnaryF32::kExp, UnaryF32::kSigmoid,
                              UnaryF32::kTanh, UnaryF32::kSilu, UnaryF32::kLeakyRelu, UnaryF32::kClip, UnaryF32::kHardSigmoid, UnaryF32::kHardSwish,
                              UnaryF32::kErf}) {
      std::vector<float> whole(x.size()), one(1);
      kernel.unary(function)(x.data(), whole.data(), x.size(), params);
      for (std::size_t i = 0; i < x.size(); ++i) {
        kernel.unary(function)(x.data() + i, one.data(), 1, params);
        EXPECT_EQ(std::memcmp(&one[0], &whole[i], sizeof(float)), 0) << static_cast<int>(function) << " at " << i;
      }
      for (std::size_t n = 0; n < 20; ++n) {
        std::vector<float> y(n + 1, 42.0f);
        kernel.unary(function)(x.data(), y.data(), n, params);
        EXPECT_EQ(y[n], 42.0f) << "wrote past the end";
      }
    }
  }
}

TEST(ElementwiseF32, ExactFunctionsAgreeOnEveryInstructionSet) {
  const float nan = std::nanf("");
  std::vector<float> a, b;
  for (int i = 0; i < 45; ++i) {
    a.push_back(i % 11 == 0 ? nan : static_cast<float>(i % 7) - 3.5f);
    b.push_back(i % 13 == 0 ? nan : static_cast<float>(i % 5) - 2.25f);
  }
  const ElementwiseF32& reference = elementwise_f32_kernels()[0];
  for (const ElementwiseF32& kernel : usable()) {
    for (BinaryF32 function : {BinaryF32::kAdd, BinaryF32::kSubtract, BinaryF32::kMultiply, BinaryF32::kDivide, BinaryF32::kMax, BinaryF32::kMin}) {
      for (int steps = 0; steps < 4; ++steps) {
        std::vector<float> expected(a.size()), found(a.size());
        reference.binary(function)(a.data() + 1, steps & 1, b.data() + 1, steps >> 1, expected.data(), a.size() - 1);
        kernel.binary(function)(a.data() + 1, steps & 1, b.data() + 1, steps >> 1, found.data(), a.size() - 1);
        for (std::size_t i = 0; i < a.size(); ++i) {
          EXPECT_TRUE(found[i] == expected[i] || (found[i] != found[i] && expected[i] != expected[i]));
        }
      }
    }
    for (UnaryF32 function : {UnaryF32::kNegate, UnaryF32::kAbs, UnaryF32::kSqrt, UnaryF32::kRelu, UnaryF32::kLeakyRelu, UnaryF32::kClip}) {
      const float params[] = {0.3f, 0.6f};
      std::vector<float> expected(a.size()), found(a.size());
      reference.unary(function)(a.data(), expected.data(), a.size(), params);
      kernel.unary(function)(a.data(), found.data(), a.size(), params);
      for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_TRUE(found[i] == expected[i] || (found[i] != found[i] && expected[i] != expected[i])) << static_cast<int>(function);
      }
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
