#include "quantizers/matrix/scales.h"

#include <gtest/gtest.h>

#include <limits>

#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

// The error of plain rounding once scaled, of all the Linears, by definition.
double scaled_error(const std::vector<std::vector<float>>& weights, const InputStatistics& statistics, const std::vector<float>& scales,
                    const MatrixOptions& options) {
  base::ThreadPool pool(1);
  const auto rounding = find_matrix_method("rounding");
  double sum = 0;
  for (const auto& weight : weights) {
    std::vector<float> scaled = weight;
    multiply_columns(scaled, scales);
    const auto found = quantize_matrix(**rounding, scaled, static_cast<std::int64_t>(weight.size()) / statistics.columns, statistics.columns, nullptr, options, pool);
    EXPECT_TRUE(found);
    std::vector<float> back = dequantized(found->matrix);
    for (std::size_t i = 0; i < back.size(); ++i) back[i] /= scales[i % scales.size()];
    sum += output_error(weight, back, statistics.hessian, statistics.columns);
  }
  return sum;
}

std::vector<WeightView> views(const std::vector<std::vector<float>>& weights, std::int64_t columns) {
  std::vector<WeightView> out;
  for (const auto& weight : weights) out.push_back({weight.data(), static_cast<std::int64_t>(weight.size()) / columns});
  return out;
}

TEST(AwqScales, ProtectColumnsOfLargeInputs) {
  const std::int64_t columns = 128;
  const std::vector<std::vector<float>> weights = {random_weight(40, columns, 1), random_weight(24, columns, 2)};
  const auto statistics = statistics_of(random_inputs(600, columns, 3), columns);  // every 17th column is 8 times as large
  const MatrixOptions options{.bits = 3, .group_size = 64, .search = false};
  base::ThreadPool pool(2);
  const auto scales = search_awq_scales(views(weights, columns), statistics, options, pool);
  ASSERT_TRUE(scales);
  double logs = 0, large = 0, small = 0;
  for (std::size_t k = 0; k < scales->size(); ++k) {
    logs += std::log((*scales)[k]);
    (k % 17 == 3 ? large : small) = (*scales)[k];
  }
  EXPECT_NEAR(logs, 0, 1e-2);
  EXPECT_GT(large, 1.5 * small);
  const std::vector<float> ones(static_cast<std::size_t>(columns), 1.0f);
  EXPECT_LT(scaled_error(weights, statistics, *scales, options), 0.7 * scaled_error(weights, statistics, ones, options));
}

TEST(AwqScales, AreOnesWhereNothingHelps) {
  // At 8 bits over inputs all alike, with weights that the grid holds exactly.
  std::vector<float> weight(4 * 32);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 16) - 8;
  std::vector<float> x(32 * 32);
  for (std::size_t k = 0; k < 32; ++k) x[k * 32 + k] = 1 + static_cast<float>(k);
  const auto statistics = statistics_of(x, 32);
  base::ThreadPool pool(1);
  const WeightView view{weight.data(), 4};
  const auto scales = search_awq_scales({&view, 1}, statistics, {.bits = 4, .group_size = 16, .scale_type = encodings::ScaleType::kF32}, pool);
  ASSERT_TRUE(scales);
  for (float s : *scales) EXPECT_EQ(s, 1);
}

TEST(AwqScales, LargeWeightsAreJudgedBySomeRows) {
  const std::int64_t columns = 64;
  const std::vector<std::vector<float>> weights = {random_weight(700, columns, 1), random_weight(300, columns, 2)};
  const auto statistics = statistics_of(random_inputs(600, columns, 3), columns);
  const MatrixOptions options{.bits = 4, .group_size = 32, .search = false};
  base::ThreadPool one(1), three(3);
  const auto scales = search_awq_scales(views(weights, columns), statistics, options, one), again = search_awq_scales(views(weights, columns), statistics, options, three);
  ASSERT_TRUE(scales && again);
  EXPECT_EQ(*scales, *again);
  const std::vector<float> ones(static_cast<std::size_t>(columns), 1.0f);
  EXPECT_LT(scaled_error(weights, statistics, *scales, options), 0.9 * scaled_error(weights, statistics, ones, options));
}

TEST(AwqScales, RefuseWhatIsWrong) {
  auto weight = random_weight(4, 32, 1);
  const auto statistics = statistics_of(random_inputs(64, 32, 1), 32);
  base::ThreadPool pool(1);
  EXPECT_FALSE(search_awq_scales({}, statistics, {}, pool));
  weight[7] = std::numeric_limits<float>::infinity();
  const WeightView view{weight.data(), 4};
  EXPECT_FALSE(search_awq_scales({&view, 1}, statistics, {}, pool));
  EXPECT_FALSE(smoothing_scales({&view, 1}, statistics, 0.5));
}

TEST(SmoothingScales, BalanceInputsAndWeights) {
  const std::vector<float> x = {4, -0.5f, 0, 2, 0.25f, 0};  // largest: 4 0.5 0
  const auto statistics = statistics_of(x, 3);
  const std::vector<float> weight = {1, -2, 3, 0.25f, 1, 5};
  const WeightView view{weight.data(), 2};
  const auto scales = smoothing_scales({&view, 1}, statistics, 0.5);
  ASSERT_TRUE(scales);
  EXPECT_FLOAT_EQ((*scales)[0], 2.0f);   // sqrt(4 / 1)
  EXPECT_FLOAT_EQ((*scales)[1], 0.5f);   // sqrt(0.5 / 2)
  EXPECT_FLOAT_EQ((*scales)[2], 1.0f);   // never seen
  const auto inputs_only = smoothing_scales({&view, 1}, statistics, 1);
  ASSERT_TRUE(inputs_only);
  EXPECT_FLOAT_EQ((*inputs_only)[0], 4.0f);
  EXPECT_FALSE(smoothing_scales({&view, 1}, statistics, 1.5));
}

}  // namespace
}  // namespace narrow::quantizers
