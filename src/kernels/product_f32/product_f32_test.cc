#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {
namespace {

std::vector<float> random_values(std::int64_t count, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = uniform(random);
  return values;
}

// In double, by definition.
double expected(const std::vector<float>& a, const std::vector<float>& b, std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t n) {
  double sum = 0;
  for (std::int64_t p = 0; p < k; ++p) sum += static_cast<double>(a[i * k + p]) * b[p * n + j];
  return sum;
}

std::vector<base::Isa> known() {
  std::vector<base::Isa> all;
  for (base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512}) {
    if (isa <= base::effective_isa()) all.push_back(isa);
  }
  return all;
}

TEST(ProductF32, EveryTileAndEpilogue) {
  std::mt19937 random(3);
  for (base::Isa isa : known()) {
    for (std::int64_t m : {1, 2, 3, 5, 6, 7, 8, 13, 14, 15, 29}) {
      for (std::int64_t n : {1, 8, 15, 16, 17, 31, 33, 48, 63, 64, 65, 130}) {
        for (std::int64_t k : {1, 7, 32}) {
          const std::vector<float> a = random_values(m * k, random), b = random_values(k * n, random), residual = random_values(m * n, random);
          PackedF32 packed = pack_f32(b.data(), k, n, n, 1);
          std::vector<float> bias = random_values(n, random);
          bias.resize(static_cast<std::size_t>(packed.padded_n()), NAN);  // what lies beyond must not be seen
          for (int form = 0; form < 4; ++form) {
            ProductEpilogue e;
            if (form > 0) e.bias = bias.data();
            if (form > 1) e.residual = residual.data();
            if (form == 2) e.activation = ProductEpilogue::Activation::kLeaky, e.low = 0.25f;
            if (form == 3) e.activation = ProductEpilogue::Activation::kClip, e.low = -0.5f, e.high = 0.75f;
            std::vector<float> c(static_cast<std::size_t>(m * n + 1), 77.0f);
            product_f32(isa)({a.data(), k, nullptr, nullptr}, m, packed, 0, packed.strips(), e, c.data(), n);
            for (std::int64_t i = 0; i < m; ++i) {
              for (std::int64_t j = 0; j < n; ++j) {
                double want = expected(a, b, i, j, k, n);
                if (form > 0) want += bias[j];
                if (form > 1) want += residual[i * n + j];
                if (form == 2 && want < 0) want *= 0.25;
                if (form == 3) want = std::min(std::max(want, -0.5), 0.75);
                ASSERT_NEAR(c[i * n + j], want, 1e-5) << "m " << m << " n " << n << " k " << k << " form " << form << " isa " << static_cast<int>(isa);
              }
            }
            ASSERT_EQ(c.back(), 77.0f);
          }
        }
      }
    }
  }
}

// Rows that lie anywhere, in runs: what a convolution reads.
TEST(ProductF32, RowsInRuns) {
  std::mt19937 random(4);
  constexpr std::int64_t kM = 9, kRun = 5, kRuns = 3, kN = 20, kK = kRun * kRuns;
  const std::vector<float> image = random_values(200, random), b = random_values(kK * kN, random);
  const PackedF32 packed = pack_f32(b.data(), kK, kN, kN, 1, kRuns);
  const std::int64_t offsets[kRuns] = {0, 40, 90};
  std::vector<const float*> rows;
  std::vector<float> a;
  for (std::int64_t i = 0; i < kM; ++i) {
    rows.push_back(image.data() + i * 7);
    for (std::int64_t r = 0; r < kRuns; ++r) a.insert(a.end(), rows.back() + offsets[r], rows.back() + offsets[r] + kRun);
  }
  for (base::Isa isa : known()) {
    std::vector<float> c(kM * kN);
    product_f32(isa)({nullptr, 0, rows.data(), offsets}, kM, packed, 0, packed.strips(), {}, c.data(), kN);
    for (std::int64_t i = 0; i < kM; ++i) {
      for (std::int64_t j = 0; j < kN; ++j) ASSERT_NEAR(c[i * kN + j], expected(a, b, i, j, kK, kN), 1e-5);
    }
  }
}

// Cut by rows and by strips: the same bits for every number of threads, every piece handed on once.
TEST(ProductF32, ThreadsDoNotMatter) {
  std::mt19937 random(5);
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 700, 600}, {16, 384, 100}, {400, 24, 64}, {3, 5, 2}}) {
    const std::vector<float> a = random_values(m * k, random), b = random_values(k * n, random);
    const PackedF32 transposed = [&] {
      std::vector<float> t(b.size());
      for (std::int64_t p = 0; p < k; ++p) {
        for (std::int64_t j = 0; j < n; ++j) t[j * k + p] = b[p * n + j];
      }
      return pack_f32(t.data(), k, n, 1, k);
    }();
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      base::ThreadPool pool(threads);
      std::vector<float> c(static_cast<std::size_t>(m * n));
      std::vector<std::atomic<int>> seen(c.size());
      const FinishPiece finish = [&, n = n](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
        for (std::int64_t i = row; i < row + rows; ++i) {
          for (std::int64_t j = column; j < column + columns; ++j) ++seen[i * n + j];
        }
      };
      multiply_f32(a.data(), m, transposed, {}, c.data(), pool, &finish);
      for (const std::atomic<int>& count : seen) ASSERT_EQ(count, 1);
      if (first.empty()) {
        first = c;
        ASSERT_NEAR(c.back(), expected(a, b, m - 1, n - 1, k, n), 1e-4);
      }
      ASSERT_EQ(c, first);
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
