#include "kernels/gemm_s8/gemm_s8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>

namespace narrow::kernels {
namespace {

struct Problem {
  std::int64_t m, n, k;
  std::vector<std::uint8_t> a;
  std::vector<std::int8_t> b;  // [k, n]
  std::vector<std::int32_t> offset;
  std::vector<float> scale, bias;

  Problem(std::int64_t m_, std::int64_t n_, std::int64_t k_, unsigned seed) : m(m_), n(n_), k(k_) {
    std::mt19937 random(seed);
    a.resize(m * k);
    b.resize(k * n);
    for (auto& v : a) v = static_cast<std::uint8_t>(random() % 4 == 0 ? 255 : random());
    for (auto& v : b) v = static_cast<std::int8_t>(random() % 4 == 0 ? -128 : random());
    const std::int64_t padded = (n + 15) / 16 * 16;
    offset.resize(padded);
    scale.resize(padded);
    bias.resize(padded);
    for (std::int64_t j = 0; j < n; ++j) {
      offset[j] = static_cast<std::int32_t>(random() % 20000) - 10000;
      scale[j] = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000, -12);
      bias[j] = static_cast<float>(random() % 100) / 7;
    }
  }

  std::int64_t exact(std::int64_t i, std::int64_t j, bool flip) const {
    std::int64_t sum = offset[j];
    for (std::int64_t r = 0; r < k; ++r) {
      const int x = flip ? static_cast<std::int8_t>(a[i * k + r]) + 128 : a[i * k + r];
      sum += static_cast<std::int64_t>(x) * b[r * n + j];
    }
    return sum;
  }
};

GemmEpilogue epilogue_of(const Problem& p, GemmOutput output) {
  GemmEpilogue e;
  e.output = output;
  e.offset = p.offset.data();
  e.scale = p.scale.data();
  e.bias = p.bias.data();
  if (output == GemmOutput::kS8) { e.zero_point = -7; e.low = -128; e.high = 100; }
  if (output == GemmOutput::kU8) { e.zero_point = 11; e.low = 11; e.high = 255; }
  return e;
}

LeftS8 rows_of(const Problem& p, bool flip) { return {p.a.data(), p.k, nullptr, nullptr, flip, false}; }

const std::tuple<int, int, int> kShapes[] = {{1, 1, 1},   {2, 16, 4},  {3, 17, 5},   {7, 40, 3},   {14, 16, 64},
                                             {15, 33, 31}, {6, 64, 36}, {13, 100, 27}, {29, 129, 130}, {0, 16, 8}, {5, 9, 0}};

TEST(GemmS8, SumsAreExact) {
  for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
    for (auto [m, n, k] : kShapes) {
      for (bool flip : {false, true}) {
        const Problem p(m, n, k, static_cast<unsigned>(m * 1000 + n));
        const PackedS8 b = pack_s8(p.b.data(), false, k, n, n, 1);
        std::vector<std::int32_t> c(m * n, 77);
        gemm.run(rows_of(p, flip), m, b, 0, b.strips(), epilogue_of(p, GemmOutput::kS32), c.data(), n);
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            ASSERT_EQ(c[i * n + j], p.exact(i, j, flip)) << gemm.name << " " << m << "x" << n << "x" << k;
          }
        }
      }
    }
  }
}

TEST(GemmS8, CodesFollowTheStatedFormulaOnEveryInstructionSet) {
  for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
    for (auto [m, n, k] : kShapes) {
      const Problem p(m, n, k, static_cast<unsigned>(m + n + k));
      const PackedS8 b = pack_s8(p.b.data(), false, k, n, n, 1);
      for (GemmOutput output : {GemmOutput::kU8, GemmOutput::kS8, GemmOutput::kF32}) {
        const GemmEpilogue e = epilogue_of(p, output);
        std::vector<std::uint8_t> codes(m * n + 16, 0xAB);
        std::vector<float> reals(m * n);
        void* c = output == GemmOutput::kF32 ? static_cast<void*>(reals.data()) : codes.data();
        gemm.run(rows_of(p, false), m, b, 0, b.strips(), e, c, n);
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            const float v = std::fma(static_cast<float>(p.exact(i, j, false)), p.scale[j], p.bias[j]);
            if (output == GemmOutput::kF32) {
              ASSERT_EQ(reals[i * n + j], v);
              continue;
            }
            const double want = std::clamp<double>(std::nearbyint(v) + e.zero_point, e.low, e.high);
            const int got = output == GemmOutput::kU8 ? codes[i * n + j] : static_cast<std::int8_t>(codes[i * n + j]);
            ASSERT_EQ(got, want) << gemm.name << " " << m << "x" << n << "x" << k;
          }
        }
        if (output != GemmOutput::kF32) {
          EXPECT_EQ(codes[m * n], 0xAB) << "wrote past the end";
        }
      }
    }
  }
}

TEST(GemmS8, APartOfTheStripsWritesOnlyItsColumns) {
  const Problem p(5, 150, 20, 3);  // 10 panels in strips of 3, 3 and 4
  const PackedS8 b = pack_s8(p.b.data(), false, 20, 150, 150, 1);
  ASSERT_EQ(b.strips(), 3);
  for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
    std::vector<std::int32_t> c(5 * 150, -1);
    std::vector<std::uint8_t> codes(5 * 150, 0xAB), all(5 * 150);
    gemm.run(rows_of(p, false), 5, b, 1, 2, epilogue_of(p, GemmOutput::kS32), c.data(), 150);
    gemm.run(rows_of(p, false), 5, b, 1, 2, epilogue_of(p, GemmOutput::kU8), codes.data(), 150);
    gemm.run(rows_of(p, false), 5, b, 0, 3, epilogue_of(p, GemmOutput::kU8), all.data(), 150);
    for (std::int64_t i = 0; i < 5; ++i) {
      for (std::int64_t j = 0; j < 150; ++j) {
        const bool inside = j >= 48 && j < 96;
        ASSERT_EQ(c[i * 150 + j], inside ? p.exact(i, j, false) : -1);
        ASSERT_EQ(codes[i * 150 + j], inside ? all[i * 150 + j] : 0xAB);
      }
    }
  }
}

TEST(GemmS8, RowsAndRunsMayLieAnywhere) {
  // Rows in an order of their own; runs of 7 apart from each other, with whatever may be read behind them.
  constexpr std::int64_t kRows = 9, kRuns = 3, kLength = 7, kColumns = 37;
  const Problem p(kRows, kColumns, kRuns * kLength, 12);
  const PackedS8 b = pack_s8(p.b.data(), false, p.k, p.n, p.n, 1, kRuns);
  for (const bool slack : {false, true}) {
    std::vector<std::uint8_t> memory(kRows * 100, 0xEE);
    const std::int64_t offsets[kRuns] = {5, 60, 31};
    std::vector<const std::uint8_t*> rows;
    for (std::int64_t i = 0; i < kRows; ++i) {
      std::uint8_t* row = memory.data() + i * 4 % kRows * 100;
      rows.push_back(row);
      for (std::int64_t k = 0; k < p.k; ++k) row[offsets[k / kLength] + k % kLength] = p.a[i * p.k + k];
    }
    for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
      std::vector<std::int32_t> c(kRows * kColumns);
      gemm.run({nullptr, 0, rows.data(), offsets, true, slack}, kRows, b, 0, b.strips(), epilogue_of(p, GemmOutput::kS32), c.data(), kColumns);
      for (std::int64_t i = 0; i < kRows; ++i) {
        for (std::int64_t j = 0; j < kColumns; ++j) ASSERT_EQ(c[i * kColumns + j], p.exact(i, j, true)) << gemm.name;
      }
    }
  }
}

TEST(GemmS8, RowsMayBringATermOfTheirOwn) {
  const Problem p(15, 70, 12, 21);
  const PackedS8 b = pack_s8(p.b.data(), false, p.k, p.n, p.n, 1);
  std::vector<std::int32_t> row(p.m), column(p.offset.size());
  for (std::int64_t i = 0; i < p.m; ++i) row[i] = static_cast<std::int32_t>(i * 37 - 200);
  for (std::size_t j = 0; j < column.size(); ++j) column[j] = static_cast<std::int32_t>(j) - 30;
  for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
    std::vector<std::int32_t> c(p.m * p.n);
    GemmEpilogue e = epilogue_of(p, GemmOutput::kS32);
    e.row = row.data();
    e.column = column.data();
    gemm.run(rows_of(p, false), p.m, b, 0, b.strips(), e, c.data(), p.n);
    for (std::int64_t i = 0; i < p.m; ++i) {
      for (std::int64_t j = 0; j < p.n; ++j) ASSERT_EQ(c[i * p.n + j], p.exact(i, j, false) + row[i] * column[j]) << gemm.name;
    }
  }
}

TEST(GemmS8, ExtremeSumsSaturate) {
  Problem p(3, 20, 4, 9);
  const float scales[] = {1e30f, -1e30f, 1e6f, -1e6f, 0, NAN};
  for (std::int64_t j = 0; j < p.n; ++j) p.scale[j] = scales[j % 6];
  const PackedS8 b = pack_s8(p.b.data(), false, p.k, p.n, p.n, 1);
  for (GemmOutput output : {GemmOutput::kU8, GemmOutput::kS8}) {
    std::vector<std::uint8_t> want(p.m * p.n), got(p.m * p.n);
    gemm_s8_reference(rows_of(p, false), p.m, b, 0, b.strips(), epilogue_of(p, output), want.data(), p.n);
    for (const NamedGemmS8& gemm : gemm_s8_kernels()) {
      gemm.run(rows_of(p, false), p.m, b, 0, b.strips(), epilogue_of(p, output), got.data(), p.n);
      EXPECT_EQ(got, want) << gemm.name;
    }
  }
}

TEST(GemmS8, PacksTransposedAndUnsignedWeights) {
  // b stored [n, k] as u8; packing subtracts 128, the column sums say so.
  const std::uint8_t b[2][3] = {{0, 128, 255}, {1, 2, 3}};
  const PackedS8 packed = pack_s8(b, true, 3, 2, 1, 3);
  EXPECT_EQ(packed.column_sums[0], -128 + 0 + 127);
  EXPECT_EQ(packed.column_sums[1], -127 - 126 - 125);
  EXPECT_EQ(packed.strip(0)[4], -127);
  EXPECT_EQ(packed.strip(0)[3], 0);
}

}  // namespace
}  // namespace narrow::kernels
