// AWQ's ranges and HQQ, by what they are to minimise.
#include <gtest/gtest.h>

#include "quantizers/matrix/problem.h"
#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

std::vector<float> values_of(const MatrixProblem& problem, const CodedMatrix& coded) {
  std::vector<float> out(coded.codes.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const Grid& grid = coded.grids[static_cast<std::size_t>(at / problem.columns * problem.groups() + at % problem.columns / problem.options.group_size)];
    out[i] = static_cast<float>(coded.codes[i] - grid.zero) * grid.scale;
  }
  return out;
}

// The best that any scale and zero could do for one group, over a fine net of scales, codes rounded to nearest.
double best_by_trying(const float* weight, const std::vector<float>& hessian, std::int64_t lda, std::int64_t at, std::int64_t size, const GridOptions& options) {
  double best = 1e30;
  const Grid full = min_max_grid(weight, size, options);
  std::vector<float> w(weight, weight + size), values(w.size()), corner(w.size() * w.size());
  for (std::int64_t i = 0; i < size; ++i) {
    for (std::int64_t j = 0; j < size; ++j) corner[static_cast<std::size_t>(i * size + j)] = hessian[static_cast<std::size_t>((at + i) * lda + at + j)];
  }
  for (int step = 40; step <= 110; ++step) {
    for (int zero = options.symmetric ? options.middle() : 0; zero <= (options.symmetric ? options.middle() : options.max_code()); ++zero) {
      const Grid grid{full.scale * static_cast<float>(step) / 100, zero};
      for (std::size_t i = 0; i < w.size(); ++i) values[i] = static_cast<float>(nearest_code(w[i], grid, options.max_code()) - zero) * grid.scale;
      best = std::min(best, output_error(w, values, corner, size));
    }
  }
  return best;
}

TEST(Awq, ClipsForTheOutputsOfAGroup) {
  for (const bool symmetric : {false, true}) {
    const std::int64_t rows = 70, columns = 48, size = 24;
    const MatrixOptions options{.bits = 3, .group_size = size, .symmetric = symmetric};
    const auto weight = random_weight(rows, columns, 3);
    const auto hessian = statistics_of(random_inputs(400, columns, 4), columns).hessian;
    base::ThreadPool pool(2);
    const MatrixProblem problem{weight.data(), rows, columns, hessian.data(), options, pool};
    CodedMatrix coded;
    std::string note;
    ASSERT_TRUE(awq(problem, coded, note));
    const auto values = values_of(problem, coded);
    double mine = 0, best = 0, plain = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t at = 0; at < columns; at += size) {
        const auto begin = static_cast<std::size_t>(row * columns + at);
        const std::vector<float> w(weight.begin() + begin, weight.begin() + begin + size), v(values.begin() + begin, values.begin() + begin + size);
        std::vector<float> corner(size * size), rounded(size);
        for (std::int64_t i = 0; i < size; ++i) {
          for (std::int64_t j = 0; j < size; ++j) corner[static_cast<std::size_t>(i * size + j)] = hessian[static_cast<std::size_t>((at + i) * columns + at + j)];
        }
        const Grid full = min_max_grid(w.data(), size, problem.grid_options());
        for (std::size_t i = 0; i < rounded.size(); ++i) rounded[i] = static_cast<float>(nearest_code(w[i], full, 7) - full.zero) * full.scale;
        mine += output_error(w, v, corner, size);
        plain += output_error(w, rounded, corner, size);
        best += best_by_trying(w.data(), hessian, columns, at, size, problem.grid_options());
      }
    }
    EXPECT_LT(mine, 1.35 * best) << symmetric;
    EXPECT_LT(mine, 0.75 * plain) << symmetric;
  }
}

double power_loss(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(std::abs(static_cast<double>(a[i]) - b[i]), 0.7);
  return sum;
}

TEST(Hqq, LowersTheNormItIsFor) {
  for (const bool symmetric : {false, true}) {
    for (int bits : {2, 3, 4}) {
      const std::int64_t rows = 66, columns = 128;
      auto weight = random_weight(rows, columns, 3);
      for (std::size_t i = 0; i < weight.size(); i += 61) weight[i] *= 3;  // outliers
      const MatrixOptions options{.bits = bits, .group_size = 64, .symmetric = symmetric, .search = false};
      base::ThreadPool pool(2);
      const MatrixProblem problem{weight.data(), rows, columns, nullptr, options, pool};
      CodedMatrix coded, plain;
      std::string note;
      ASSERT_TRUE(hqq(problem, coded, note));
      ASSERT_TRUE(round_to_nearest(problem, plain, note));
      EXPECT_LT(power_loss(weight, values_of(problem, coded)), 0.97 * power_loss(weight, values_of(problem, plain))) << bits << symmetric;
      // The size of the weights changes nothing but the scales.
      auto large = weight;
      for (float& w : large) w *= 1024;
      MatrixProblem scaled = problem;
      scaled.weight = large.data();
      CodedMatrix other;
      ASSERT_TRUE(hqq(scaled, other, note));
      std::size_t different = 0;
      for (std::size_t i = 0; i < other.codes.size(); ++i) different += other.codes[i] != coded.codes[i];
      EXPECT_LT(different, other.codes.size() / 20);
    }
  }
}

TEST(Hqq, GroupsOfZeros) {
  const std::vector<float> weight(2 * 32);
  base::ThreadPool pool(1);
  const MatrixProblem problem{weight.data(), 2, 32, nullptr, {.group_size = 16}, pool};
  CodedMatrix coded;
  std::string note;
  ASSERT_TRUE(hqq(problem, coded, note));
  for (float v : values_of(problem, coded)) EXPECT_EQ(v, 0);
}

}  // namespace
}  // namespace narrow::quantizers
