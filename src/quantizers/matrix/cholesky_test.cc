#include "quantizers/matrix/cholesky.h"

#include <gtest/gtest.h>

#include <numeric>

#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

TEST(Cholesky, FactorTimesItselfIsTheMatrix) {
  for (const std::int64_t n : {1, 2, 127, 128, 129, 300}) {
    const auto hessian = statistics_of(random_inputs(2 * n + 3, n, 5), n).hessian;
    base::ThreadPool pool(2);
    auto a = hessian;
    const auto held = cholesky(a.data(), n, pool);
    ASSERT_TRUE(held && *held);
    for (std::int64_t i = 0; i < n; i += 7) {
      for (std::int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::int64_t p = 0; p <= j; ++p) sum += static_cast<double>(a[static_cast<std::size_t>(i * n + p)]) * a[static_cast<std::size_t>(j * n + p)];
        const double scale = std::sqrt(static_cast<double>(hessian[static_cast<std::size_t>(i * n + i)]) * hessian[static_cast<std::size_t>(j * n + j)]);
        EXPECT_NEAR(sum, hessian[static_cast<std::size_t>(i * n + j)], 1e-4 * scale) << n;
      }
    }
    // x = r a⁻¹ gives r back.
    const auto wanted = random_weight(3, n, 6);
    std::vector<float> product(wanted.size());
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t p = 0; p < n; ++p) sum += static_cast<double>(wanted[i * static_cast<std::size_t>(n) + static_cast<std::size_t>(p)]) * hessian[static_cast<std::size_t>(p * n + j)];
        product[i * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)] = static_cast<float>(sum);
      }
    }
    ASSERT_TRUE(solve_rows(a.data(), n, product.data(), 3));
    for (std::size_t i = 0; i < product.size(); ++i) EXPECT_NEAR(product[i], wanted[i], 5e-3) << n;
  }
}

TEST(Cholesky, RefusesWhatIsNotPositiveDefinite) {
  base::ThreadPool pool(1);
  std::vector<float> a = {1, 2, 2, 1};
  auto held = cholesky(a.data(), 2, pool);
  ASSERT_TRUE(held);
  EXPECT_FALSE(*held);
  a = {0, 0, 0, 0};
  double damping = 0.1;
  const auto none = damped_factor(a.data(), 2, {}, damping, pool);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

TEST(Cholesky, DampingGrowsUntilItHolds) {
  base::ThreadPool pool(1);
  const std::vector<float> a = {1, 1.05f, 1.05f, 1};  // eigenvalues 2.05 and -0.05
  double damping = 0.01;
  const std::int64_t order[] = {1, 0};
  const auto factor = damped_factor(a.data(), 2, order, damping, pool);
  ASSERT_TRUE(factor);
  ASSERT_EQ(factor->size(), 4u);
  EXPECT_DOUBLE_EQ(damping, 0.1);
  EXPECT_FLOAT_EQ((*factor)[0], std::sqrt(1.1f));
  EXPECT_FLOAT_EQ((*factor)[2], 1.05f / std::sqrt(1.1f));
}

}  // namespace
}  // namespace narrow::quantizers
