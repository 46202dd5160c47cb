#include "quantizers/matrix/smooth_quant.h"

#include <gtest/gtest.h>

#include "quantizers/matrix/grid.h"
#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

using Kind = encodings::InputRounding::Kind;

constexpr std::int64_t kRows = 40, kColumns = 64, kTokens = 200;

// A few channels of the inputs a hundred times as large as the rest, as language models have them.
std::vector<float> outlier_inputs() {
  std::vector<float> x = random_inputs(kTokens, kColumns, 11);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % kColumns == 7 || i % kColumns == 40) x[i] *= 100;
  }
  return x;
}

// |W x - Ŵ x̂|² / |W x|² by definition: weights rounded a row unless they are `exact`, inputs as `rounding` says, both scaled.
double error_by_definition(const std::vector<float>& weight, const std::vector<float>& x, const std::vector<float>& scales, encodings::InputRounding rounding, bool exact_weights = false) {
  std::vector<float> scaled = weight, inputs = x;
  multiply_columns(scaled, scales);
  float largest = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) largest = std::max(largest, std::abs(inputs[i] /= scales[i % kColumns]));
  if (rounding.kind == Kind::kTensor && rounding.scale == 0) rounding.scale = largest / 127.5f;
  encodings::round_inputs(rounding, inputs.data(), kTokens, kColumns, inputs.data());
  double error = 0, whole = 0;
  for (std::int64_t r = 0; r < kRows; ++r) {
    float most = 0;
    for (std::int64_t k = 0; k < kColumns; ++k) most = std::max(most, std::abs(scaled[static_cast<std::size_t>(r * kColumns + k)]));
    for (std::int64_t t = 0; t < kTokens; ++t) {
      double exact = 0, rounded = 0;
      for (std::int64_t k = 0; k < kColumns; ++k) {
        const auto w = static_cast<std::size_t>(r * kColumns + k), i = static_cast<std::size_t>(t * kColumns + k);
        exact += static_cast<double>(weight[w]) * x[i];
        const float step = most / 127.5f;
        rounded += static_cast<double>(exact_weights ? scaled[w] : std::clamp(std::nearbyint(scaled[w] / step), -128.0f, 127.0f) * step) * inputs[i];
      }
      error += (exact - rounded) * (exact - rounded);
      whole += exact * exact;
    }
  }
  return error / whole;
}

TEST(SmoothQuant, ScalesFoundMakeOutliersHarmless) {
  const std::vector<float> x = outlier_inputs(), weight = random_weight(kRows, kColumns, 3);
  const InputStatistics statistics = statistics_of(x, kColumns);
  const WeightView view{weight.data(), kRows};
  base::ThreadPool pool(2);
  for (const Kind kind : {Kind::kToken, Kind::kTensor}) {
    double strength = 0;
    const auto scales = search_smoothing_scales({&view, 1}, statistics, {x.data(), kTokens, kColumns}, kind, pool, &strength);
    ASSERT_TRUE(scales);
    EXPECT_GT(strength, 0.1);
    EXPECT_LT(strength, 0.95);
    const double plain = error_by_definition(weight, x, std::vector<float>(kColumns, 1.0f), {.kind = kind}), smoothed = error_by_definition(weight, x, *scales, {.kind = kind});
    EXPECT_LT(smoothed, 0.5 * plain);
    for (const double alpha : {0.2, 0.5, 0.8}) {  // none of those that were tried is better
      const auto other = smoothing_scales({&view, 1}, statistics, alpha);
      ASSERT_TRUE(other);
      EXPECT_LT(smoothed, 1.02 * error_by_definition(weight, x, *other, {.kind = kind})) << alpha;
    }
  }
}

TEST(SmoothQuant, ScalesAreOnesWhereNothingHelps) {
  // All channels and all columns are as large as each other: there is nothing to even out.
  std::vector<float> x(kTokens * kColumns), weight(kRows * kColumns);
  std::mt19937 random(2);
  for (float& v : x) v = random() % 2 != 0 ? 1.0f : -1.0f;
  for (float& w : weight) w = random() % 2 != 0 ? 1.0f : -1.0f;
  const WeightView view{weight.data(), kRows};
  base::ThreadPool pool(1);
  double strength = 0;
  const auto scales = search_smoothing_scales({&view, 1}, statistics_of(x, kColumns), {x.data(), kTokens, kColumns}, Kind::kToken, pool, &strength);
  ASSERT_TRUE(scales);
  EXPECT_EQ(strength, -1);
  EXPECT_EQ(*scales, std::vector<float>(kColumns, 1.0f));
}

TEST(SmoothQuant, OneScaleCutsWhatIsRareAndLarge) {
  std::vector<float> x = random_inputs(kTokens, kColumns, 5);
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  const std::vector<float> weight = random_weight(kRows, kColumns, 4);
  const WeightView view{weight.data(), kRows};
  const auto whole = choose_tensor_rounding({&view, 1}, {x.data(), kTokens, kColumns}, largest, encodings::ScaleType::kF16);
  ASSERT_TRUE(whole);
  EXPECT_GT(whole->scale, 0.5f * largest / 127.5f);
  EXPECT_EQ(whole->scale, round_scale(whole->scale, encodings::ScaleType::kF16));
  x[17] = 6 * largest;  // one number of all: reading it right is not worth six times the step
  const auto cut = choose_tensor_rounding({&view, 1}, {x.data(), kTokens, kColumns}, 6 * largest, encodings::ScaleType::kF32);
  ASSERT_TRUE(cut);
  EXPECT_LE(cut->scale, 6 * largest / 127.5f);
  x[17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(choose_tensor_rounding({&view, 1}, {x.data(), kTokens, kColumns}, largest, encodings::ScaleType::kF32).ok());
}

TEST(SmoothQuant, ErrorOfInputsIsThatByDefinition) {
  const std::vector<float> x = outlier_inputs();
  const std::vector<float> weight = random_weight(kRows, kColumns, 3);
  base::ThreadPool pool(1);
  for (const Kind kind : {Kind::kToken, Kind::kTensor}) {
    const encodings::InputRounding rounding{.kind = kind, .scale = kind == Kind::kTensor ? 3.0f : 0.0f};
    const auto found = input_rounding_error({weight.data(), kRows}, {x.data(), kTokens, kColumns}, rounding, pool);
    ASSERT_TRUE(found);
    const double expected = error_by_definition(weight, x, std::vector<float>(kColumns, 1.0f), rounding, true);
    EXPECT_NEAR(*found, expected, 1e-3 * expected);
  }
}

}  // namespace
}  // namespace narrow::quantizers
