#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "kernels/pooling/rows.h"
#include "kernels/softmax/rows.h"

namespace narrow::kernels {
namespace {

template <typename Table>
std::vector<const Table*> available(const Table& scalar, const Table& avx2, const Table& avx512) {
  std::vector<const Table*> tables = {&scalar};
  if (base::detected_isa() >= base::Isa::kAvx2) tables.push_back(&avx2);
  if (base::detected_isa() >= base::Isa::kAvx512) tables.push_back(&avx512);
  return tables;
}

TEST(SoftmaxRows, EveryInstructionSet) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(1);
  std::uniform_real_distribution<float> draw(-30, 5);
  for (const SoftmaxRows* rows : available(kSoftmaxRowsScalar, kSoftmaxRowsAvx2, kSoftmaxRowsAvx512)) {
    for (std::int64_t n : {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 100}) {
      std::vector<float> x(n), y(n);
      for (float& v : x) v = draw(random);
      if (n > 8) x[3] = -kInfinity;
      if (n > 8) x[8] = -1e30f;
      EXPECT_EQ(rows->maximum(x.data(), n), *std::max_element(x.begin(), x.end()));
      double want = 0;
      const float sum = rows->exponentials(x.data(), n, 5.0f, y.data());
      for (std::int64_t i = 0; i < n; ++i) {
        const double e = std::exp(static_cast<double>(x[i] - 5.0f));
        EXPECT_NEAR(y[i], e, e * 4e-7 + 1e-37) << x[i];
        want += e;
      }
      EXPECT_NEAR(sum, want, want * 1e-6);
      EXPECT_EQ(rows->exponentials(x.data(), n, 5.0f, nullptr), sum);
      const std::vector<float> before = y;
      rows->scale(y.data(), n, 0.3f);
      for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(y[i], before[i] * 0.3f);
    }
  }
}

TEST(PoolRows, EveryInstructionSetAgreesBitForBit) {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> draw(-1, 1);
  for (const PoolRows* rows : available(kPoolRowsScalar, kPoolRowsAvx2, kPoolRowsAvx512)) {
    for (std::int64_t n : {1, 7, 8, 16, 19, 64}) {
      std::vector<float> a(n), b(n);
      for (std::int64_t i = 0; i < n; ++i) { a[i] = draw(random); b[i] = draw(random); }
      std::vector<float> most = a, sum = a, quotient = a;
      rows->maximum(most.data(), b.data(), n);
      rows->add(sum.data(), b.data(), n);
      rows->divide(quotient.data(), 3.0f, n);
      for (std::int64_t i = 0; i < n; ++i) {
        EXPECT_EQ(most[i], std::max(a[i], b[i]));
        EXPECT_EQ(sum[i], a[i] + b[i]);
        EXPECT_EQ(quotient[i], a[i] / 3.0f);
      }
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
