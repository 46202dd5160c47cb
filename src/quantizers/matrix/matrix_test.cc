#include "quantizers/matrix/matrix.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/float16.h"
#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

MatrixMethod method(std::string_view name) {
  auto found = find_matrix_method(name);
  EXPECT_TRUE(found);
  return **found;
}

Result<MatrixResult> run(std::string_view name, const std::vector<float>& weight, std::int64_t rows, std::int64_t columns,
                         const InputStatistics* statistics, const MatrixOptions& options, int threads = 1) {
  base::ThreadPool pool(threads);
  return quantize_matrix(method(name), weight, rows, columns, statistics, options, pool);
}

// Inverse of a symmetric positive definite matrix, Gauss-Jordan in double.
std::vector<double> inverse(std::vector<double> a, std::int64_t n) {
  std::vector<double> inv(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i) inv[static_cast<std::size_t>(i * n + i)] = 1;
  for (std::int64_t p = 0; p < n; ++p) {
    const double pivot = a[static_cast<std::size_t>(p * n + p)];
    for (std::int64_t j = 0; j < n; ++j) {
      a[static_cast<std::size_t>(p * n + j)] /= pivot;
      inv[static_cast<std::size_t>(p * n + j)] /= pivot;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double factor = a[static_cast<std::size_t>(i * n + p)];
      for (std::int64_t j = 0; j < n; ++j) {
        a[static_cast<std::size_t>(i * n + j)] -= factor * a[static_cast<std::size_t>(p * n + j)];
        inv[static_cast<std::size_t>(i * n + j)] -= factor * inv[static_cast<std::size_t>(p * n + j)];
      }
    }
  }
  return inv;
}

// GPTQ as its paper's first algorithm has it (optimal brain quantization in a fixed order): after each column, the rest moves by
// the row of the inverse of the Hessian of what is left. Scales are those of `grids`, by columns.
std::vector<float> naive_gptq(std::vector<float> weight, std::int64_t rows, std::int64_t n, const std::vector<float>& hessian, double damping,
                              const std::vector<std::int64_t>& order, const encodings::GroupedMatrix& grids) {
  double mean = 0;
  for (std::int64_t k = 0; k < n; ++k) mean += hessian[static_cast<std::size_t>(k * n + k)] / static_cast<double>(n);
  std::vector<double> w(weight.begin(), weight.end());
  std::vector<float> out(weight.size());
  for (std::int64_t step = 0; step < n; ++step) {
    const std::int64_t left = n - step;
    std::vector<double> rest(static_cast<std::size_t>(left * left));
    for (std::int64_t i = 0; i < left; ++i) {
      for (std::int64_t j = 0; j < left; ++j) {
        rest[static_cast<std::size_t>(i * left + j)] =
            hessian[static_cast<std::size_t>(order[static_cast<std::size_t>(step + i)] * n + order[static_cast<std::size_t>(step + j)])] + (i == j ? damping * mean : 0);
      }
    }
    const std::vector<double> inv = inverse(rest, left);
    const std::int64_t k = order[static_cast<std::size_t>(step)], group = k / grids.group_size;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float scale = grids.scales[static_cast<std::size_t>(row * grids.groups() + group)];
      const int zero = grids.zero(row, group);
      double& from = w[static_cast<std::size_t>(row * n + k)];
      const double code = std::clamp(std::nearbyint(from / scale) + zero, 0.0, static_cast<double>((1 << grids.bits) - 1));
      const double rounded = (code - zero) * scale;
      out[static_cast<std::size_t>(row * n + k)] = static_cast<float>(rounded);
      for (std::int64_t j = 1; j < left; ++j) {
        w[static_cast<std::size_t>(row * n + order[static_cast<std::size_t>(step + j)])] -= (from - rounded) / inv[0] * inv[static_cast<std::size_t>(j)];
      }
    }
  }
  return out;
}

TEST(QuantizeMatrix, GptqIsThePapersAlgorithm) {
  struct Case {
    std::int64_t rows, columns, group;
    int bits;
    bool symmetric, act_order;
  };
  for (const Case& c : {Case{3, 20, 8, 4, false, true}, Case{70, 33, 0, 3, true, true}, Case{5, 150, 32, 4, false, false}, Case{2, 64, 64, 2, false, true},
                        Case{4, 65, 16, 8, true, false}}) {
    const auto weight = random_weight(c.rows, c.columns, 3);
    const auto statistics = statistics_of(random_inputs(3 * c.columns, c.columns, 5), c.columns);
    MatrixOptions options{.bits = c.bits, .group_size = c.group, .symmetric = c.symmetric, .act_order = c.act_order, .refine = 0};
    const auto found = run("gptq", weight, c.rows, c.columns, &statistics, options);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_FALSE(found->fell_back);
    std::vector<std::int64_t> order(static_cast<std::size_t>(c.columns));
    for (std::int64_t k = 0; k < c.columns; ++k) order[static_cast<std::size_t>(k)] = k;
    if (c.act_order) {
      std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return statistics.hessian[static_cast<std::size_t>(a * c.columns + a)] > statistics.hessian[static_cast<std::size_t>(b * c.columns + b)];
      });
    }
    const auto expected = naive_gptq(weight, c.rows, c.columns, statistics.hessian, options.damping, order, found->matrix);
    const auto actual = dequantized(found->matrix);
    std::size_t different = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) different += std::abs(actual[i] - expected[i]) > 1e-4f;
    // A value half way between codes may go either way, and its row with it.
    EXPECT_LE(different, actual.size() / 50) << c.columns;
    const double mine = output_error(weight, actual, statistics.hessian, c.columns), theirs = output_error(weight, expected, statistics.hessian, c.columns);
    EXPECT_NEAR(mine / theirs, 1, 0.02);
    const double total = output_error(weight, std::vector<float>(weight.size()), statistics.hessian, c.columns);
    EXPECT_NEAR(found->error, mine / total, 1e-4 * mine / total + 1e-9);
  }
}

TEST(QuantizeMatrix, GptqBeatsRoundingAndSearchBeatsExtremes) {
  const std::int64_t rows = 96, columns = 256;
  const auto weight = random_weight(rows, columns, 1);
  const auto statistics = statistics_of(random_inputs(1024, columns, 2), columns);
  for (int bits : {2, 3, 4, 8}) {
    const MatrixOptions plain{.bits = bits, .group_size = 64, .search = false}, searched{.bits = bits, .group_size = 64};
    const auto rounding = run("rounding", weight, rows, columns, &statistics, plain), better = run("rounding", weight, rows, columns, &statistics, searched),
               best = run("gptq", weight, rows, columns, &statistics, searched);
    ASSERT_TRUE(rounding && better && best);
    EXPECT_DOUBLE_EQ(rounding->error, rounding->rounding_error);
    EXPECT_LT(better->error, rounding->error) << bits;
    EXPECT_LT(best->error, 0.6 * better->error) << bits;
  }
}

TEST(QuantizeMatrix, ThreadsDoNotChangeABit) {
  const std::int64_t rows = 200, columns = 300;
  const auto weight = random_weight(rows, columns, 1), x = random_inputs(3000, columns, 2);
  InputStatistics one(columns), three(columns);
  base::ThreadPool pool1(1), pool3(3);
  ASSERT_TRUE(one.add(x.data(), 1000, pool1));
  ASSERT_TRUE(one.add(x.data() + 1000 * columns, 2000, pool1));
  ASSERT_TRUE(three.add(x.data(), 1000, pool3));
  ASSERT_TRUE(three.add(x.data() + 1000 * columns, 2000, pool3));
  EXPECT_EQ(one.hessian, three.hessian);
  EXPECT_EQ(one.mean_abs, three.mean_abs);
  for (const MatrixMethod& row : matrix_methods()) {
    const auto a = run(row.name, weight, rows, columns, &one, {}, 1), b = run(row.name, weight, rows, columns, &one, {}, 3);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(a->matrix.codes, b->matrix.codes) << row.name;
    EXPECT_EQ(a->matrix.scales, b->matrix.scales) << row.name;
    EXPECT_EQ(a->matrix.zeros, b->matrix.zeros) << row.name;
    EXPECT_EQ(a->error, b->error) << row.name;
  }
}

TEST(InputStatistics, SumsProductsOfInputs) {
  const std::int64_t columns = 270, tokens = 40;
  const auto x = random_inputs(tokens, columns, 7);
  const auto statistics = statistics_of(x, columns);
  EXPECT_EQ(statistics.tokens, tokens);
  for (std::int64_t i = 0; i < columns; i += 13) {
    double abs = 0;
    for (std::int64_t t = 0; t < tokens; ++t) abs += std::abs(x[static_cast<std::size_t>(t * columns + i)]) / static_cast<double>(tokens);
    EXPECT_NEAR(statistics.mean_abs[static_cast<std::size_t>(i)], abs, 1e-5 * abs);
    for (std::int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t) sum += static_cast<double>(x[static_cast<std::size_t>(t * columns + i)]) * x[static_cast<std::size_t>(t * columns + j)];
      EXPECT_NEAR(statistics.hessian[static_cast<std::size_t>(i * columns + j)], sum, 1e-3);
    }
  }
}

TEST(QuantizeMatrix, ScalesAreOfTheirType) {
  const auto weight = random_weight(8, 64, 4);
  for (auto type : {encodings::ScaleType::kF16, encodings::ScaleType::kBF16}) {
    for (bool search : {false, true}) {
      const auto found = run("rounding", weight, 8, 64, nullptr, {.group_size = 32, .scale_type = type, .search = search});
      ASSERT_TRUE(found);
      for (float scale : found->matrix.scales) {
        EXPECT_EQ(scale, type == encodings::ScaleType::kF16 ? base::to_float(base::to_float16(scale)) : base::to_float(base::to_bfloat16(scale)));
        EXPECT_GT(scale, 0);
      }
    }
  }
}

TEST(QuantizeMatrix, ExtremeWeightsKeepFiniteScales) {
  for (float value : {0.0f, 1e-30f, -1e-9f, 3e38f, -3e38f}) {
    for (bool symmetric : {false, true}) {
      for (auto type : {encodings::ScaleType::kF32, encodings::ScaleType::kF16, encodings::ScaleType::kBF16}) {
        std::vector<float> weight(2 * 48, value);
        weight[3] = -value;
        const auto found = run("rounding", weight, 2, 48, nullptr, {.group_size = 32, .symmetric = symmetric, .scale_type = type});
        ASSERT_TRUE(found) << found.error().to_string();
        for (float scale : found->matrix.scales) {
          EXPECT_GT(scale, 0) << value;
          EXPECT_TRUE(std::isfinite(scale)) << value;
        }
        EXPECT_EQ(found->matrix.symmetric(), symmetric);
      }
    }
  }
}

TEST(QuantizeMatrix, NamesWhatIsNotFinite) {
  auto weight = random_weight(4, 32, 4);
  weight[2 * 32 + 5] = std::numeric_limits<float>::quiet_NaN();
  const auto nan = run("rounding", weight, 4, 32, nullptr, {});
  ASSERT_FALSE(nan);
  EXPECT_NE(nan.error().message().find("the weight holds nan at [2, 5]"), std::string::npos) << nan.error().to_string();
  weight[2 * 32 + 5] = 0;
  auto statistics = statistics_of(random_inputs(64, 32, 1), 32);
  statistics.hessian[40] = std::numeric_limits<float>::infinity();
  const auto infinite = run("gptq", weight, 4, 32, &statistics, {});
  ASSERT_FALSE(infinite);
  EXPECT_NE(infinite.error().message().find("inf at [1, 8]"), std::string::npos) << infinite.error().to_string();
}

TEST(QuantizeMatrix, RefusesWhatMakesNoSense) {
  const auto weight = random_weight(4, 32, 4);
  const auto statistics = statistics_of(random_inputs(64, 16, 1), 16);
  EXPECT_FALSE(run("gptq", weight, 4, 32, nullptr, {}));
  EXPECT_FALSE(run("gptq", weight, 4, 32, &statistics, {}));
  EXPECT_FALSE(run("rounding", weight, 4, 33, nullptr, {}));
  EXPECT_FALSE(run("rounding", {}, 0, 0, nullptr, {}));
  EXPECT_FALSE(run("rounding", weight, 4, 32, nullptr, {.bits = 5}));
  EXPECT_FALSE(run("rounding", weight, 4, 32, nullptr, {.group_size = -1}));
  EXPECT_FALSE(run("gptq", weight, 4, 32, nullptr, {.damping = -1}));
  const auto unknown = find_matrix_method("gtpq");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message().find("gptq"), std::string::npos);
}

TEST(QuantizeMatrix, DeadAndDegenerateInputsStillQuantize) {
  const auto weight = random_weight(8, 96, 4);
  // Columns that are always zero, and far fewer tokens than columns.
  auto x = random_inputs(5, 96, 3);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 96 % 10 == 0) x[i] = 0;
  }
  const auto few = statistics_of(x, 96);
  const auto found = run("gptq", weight, 8, 96, &few, {.group_size = 32, .damping = 0});
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_LT(found->error, found->rounding_error);
  EXPECT_FALSE(found->note.empty());  // damping had to grow
  // A dead column is still rounded to nearest: other data may use it.
  const auto values = dequantized(found->matrix);
  for (std::int64_t row = 0; row < 8; ++row) {
    EXPECT_LE(std::abs(values[static_cast<std::size_t>(row * 96 + 10)] - weight[static_cast<std::size_t>(row * 96 + 10)]), 4 * found->matrix.scales[static_cast<std::size_t>(row * 3)]);
  }
  const InputStatistics nothing(96);
  const auto rounded = run("gptq", weight, 8, 96, &nothing, {});
  ASSERT_TRUE(rounded);
  EXPECT_NE(rounded->note.find("rounded to nearest"), std::string::npos);
}

// The layer sees inputs that earlier layers spoiled, and its output joins a residual stream that is off as well.
TEST(QuantizeMatrix, CompensationMakesUpForEarlierLayers) {
  const std::int64_t rows = 48, columns = 96, tokens = 2000;
  const auto weight = random_weight(rows, columns, 1), x_float = random_inputs(tokens, columns, 2), noise = random_inputs(tokens, columns, 3);
  std::vector<float> x(x_float), residual_off(static_cast<std::size_t>(tokens * rows));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.9f * x_float[i] + 0.05f * noise[i];
  // Off by something that the inputs tell, in part.
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t r = 0; r < rows; ++r) residual_off[static_cast<std::size_t>(t * rows + r)] = 0.02f * (x[static_cast<std::size_t>(t * columns + r)] + noise[static_cast<std::size_t>(t * columns + r)]);
  }
  base::ThreadPool pool(2);
  InputStatistics statistics = statistics_of(x, columns);
  ASSERT_TRUE(statistics.add_drift(x_float.data(), x.data(), tokens, pool));
  std::vector<float> residual(static_cast<std::size_t>(rows * columns));
  ASSERT_TRUE(add_products(residual_off.data(), rows, x.data(), columns, tokens, residual.data(), pool));
  // Mean squared difference of the stream after the layer, by definition.
  const auto off = [&](const MatrixResult& result) {
    const auto values = dequantized(result.matrix);
    double sum = 0;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double d = residual_off[static_cast<std::size_t>(t * rows + r)];
        for (std::int64_t k = 0; k < columns; ++k) {
          d += static_cast<double>(weight[static_cast<std::size_t>(r * columns + k)]) * x_float[static_cast<std::size_t>(t * columns + k)] -
               static_cast<double>(values[static_cast<std::size_t>(r * columns + k)]) * x[static_cast<std::size_t>(t * columns + k)];
        }
        sum += d * d;
      }
    }
    return sum;
  };
  const auto with = [&](double compensation, std::span<const float> beside) {
    auto found = quantize_matrix(method("gptq"), weight, rows, columns, &statistics, {.group_size = 32, .compensation = compensation}, pool, beside);
    EXPECT_TRUE(found);
    return off(*found);
  };
  const double none = with(0, residual), half = with(0.5, residual), full = with(1, residual), drift_only = with(1, {});
  EXPECT_LT(half, 0.6 * none);
  EXPECT_LT(full, 0.8 * half);
  EXPECT_LT(full, 0.9 * drift_only);
  EXPECT_LT(drift_only, 0.8 * none);
  EXPECT_FALSE(quantize_matrix(method("gptq"), weight, rows, columns, &statistics, {.compensation = 2}, pool));
  EXPECT_FALSE(quantize_matrix(method("gptq"), weight, rows, columns, &statistics, {}, pool, std::span(residual).first(5)));
}

TEST(InputStatistics, DividesAsIfInputsHadBeen) {
  const std::int64_t columns = 40, tokens = 60;
  auto x = random_inputs(tokens, columns, 7);
  auto other = random_inputs(tokens, columns, 8);
  std::vector<float> scales;
  for (std::int64_t k = 0; k < columns; ++k) scales.push_back(0.5f + 0.1f * static_cast<float>(k));
  base::ThreadPool pool(1);
  InputStatistics divided = statistics_of(x, columns);
  ASSERT_TRUE(divided.add_drift(other.data(), x.data(), tokens, pool));
  divided.divide(scales);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] /= scales[i % 40];
    other[i] /= scales[i % 40];
  }
  InputStatistics expected = statistics_of(x, columns);
  ASSERT_TRUE(expected.add_drift(other.data(), x.data(), tokens, pool));
  for (std::size_t i = 0; i < expected.hessian.size(); ++i) {
    EXPECT_NEAR(divided.hessian[i], expected.hessian[i], 1e-3);
    EXPECT_NEAR(divided.drift[i], expected.drift[i], 1e-3);
  }
  for (std::size_t k = 0; k < 40; ++k) {
    EXPECT_NEAR(divided.mean_abs[k], expected.mean_abs[k], 1e-5);
    EXPECT_NEAR(divided.max_abs[k], expected.max_abs[k], 1e-5);
  }
}

}  // namespace
}  // namespace narrow::quantizers
