#include "calibration/scan/scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace narrow::calibration {
namespace {

std::vector<float> values(std::size_t n, int flavour) {
  std::mt19937 random(static_cast<unsigned>(n * 7 + flavour));
  std::normal_distribution<float> normal(0.1f, 3.0f);
  std::vector<float> x(n);
  for (float& v : x) {
    v = normal(random);
    if (flavour == 1) v = std::max(0.0f, v);              // what a Relu gives
    if (flavour == 2) v *= 1e-39f;                        // denormal
    if (flavour == 3) v *= 1e30f;
    if (flavour == 4) v = random() % 2 == 0 ? 0.0f : -0.0f;
  }
  return x;
}

bool runs_here(const ScanKernel& kernel) { return kernel.isa <= base::detected_isa(); }

TEST(Scan, ReferenceAgainstTheDefinition) {
  const float x[] = {3, -0.0f, 0, -2, 0.5f, 8, -7, 1, 1, 1};
  const ScanResult r = kScanReference.scan(x, 10);
  EXPECT_TRUE(r.finite);
  EXPECT_EQ(r.min, -7);
  EXPECT_EQ(r.max, 8);
  EXPECT_EQ(r.zeros, 2u);
  EXPECT_EQ(r.sum, 5.5);
  EXPECT_EQ(r.sum_squares, 9 + 4 + 0.25 + 64 + 49 + 3);
}

TEST(Scan, EveryKernelGivesTheBitsOfTheReference) {
  for (const ScanKernel& kernel : scan_kernels()) {
    if (!runs_here(kernel)) continue;
    for (int flavour = 0; flavour < 5; ++flavour) {
      for (std::size_t n : {1, 2, 7, 8, 9, 15, 16, 31, 1000, 4096}) {
        const std::vector<float> x = values(n, flavour);
        const ScanResult want = kScanReference.scan(x.data(), n), got = kernel.scan(x.data(), n);
        EXPECT_EQ(got.finite, want.finite) << kernel.name << " n " << n << " flavour " << flavour;
        EXPECT_EQ(got.min, want.min);
        EXPECT_EQ(std::signbit(got.min), std::signbit(want.min));
        EXPECT_EQ(got.max, want.max);
        EXPECT_EQ(got.zeros, want.zeros);
        EXPECT_EQ(got.sum, want.sum) << kernel.name << " n " << n << " flavour " << flavour;
        EXPECT_EQ(got.sum_squares, want.sum_squares);
      }
    }
  }
}

TEST(Scan, OneBadNumberAnywhereIsSeen) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const ScanKernel& kernel : scan_kernels()) {
    if (!runs_here(kernel)) continue;
    for (float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
      for (std::size_t at = 0; at < 19; ++at) {
        std::vector<float> x(19, 1.0f);
        x[at] = bad;
        EXPECT_FALSE(kernel.scan(x.data(), x.size()).finite) << kernel.name << " at " << at;
      }
    }
  }
}

TEST(Scan, CellsRoundDownEvenWhereTheProductUnderflows) {
  EXPECT_EQ(cell_of(0.0f, 1.0f), 0);
  EXPECT_EQ(cell_of(-0.0f, 1.0f), 0);
  EXPECT_EQ(cell_of(2.5f, 2.0f), 5);
  EXPECT_EQ(cell_of(-2.5f, 1.0f), -3);
  EXPECT_EQ(cell_of(-2.0f, 1.0f), -2);
  EXPECT_EQ(cell_of(-1e-38f, 0x1p-117f), -1);
  EXPECT_EQ(cell_of(1e-38f, 0x1p-117f), 0);
}

TEST(Scan, EveryKernelCountsIntoTheSameTables) {
  const std::size_t cells = 4096;
  for (const ScanKernel& kernel : scan_kernels()) {
    if (!runs_here(kernel)) continue;
    for (float inverse : {1.0f, 64.0f, 0x1p-3f}) {
      for (std::size_t n : {1, 3, 8, 13, 4096}) {
        const std::vector<float> x = values(n, n % 2 == 0 ? 0 : 1);
        std::vector<std::uint32_t> want(4 * cells, 0), got(4 * cells, 0);
        kScanReference.count(x.data(), n, inverse, -2048, want.data(), cells);
        kernel.count(x.data(), n, inverse, -2048, got.data(), cells);
        EXPECT_EQ(got, want) << kernel.name << " n " << n << " inverse " << inverse;
      }
    }
  }
}

}  // namespace
}  // namespace narrow::calibration
