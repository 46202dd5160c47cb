#include "kernels/columns/columns.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace narrow::kernels {
namespace {

std::vector<base::Isa> levels() {
  std::vector<base::Isa> out;
  for (base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512}) {
    if (isa <= base::detected_isa()) out.push_back(isa);
  }
  return out;
}

struct Tile {
  alignas(64) TileColumn columns[70];
  alignas(64) float scale[kColumnRows], low[kColumnRows], high[kColumnRows];
};

Tile random_tile(unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tile tile;
  for (auto& column : tile.columns) {
    for (float& w : column) w = normal(random);
  }
  for (std::int64_t r = 0; r < kColumnRows; ++r) {
    tile.scale[r] = 0.1f + 0.01f * static_cast<float>(r);
    tile.low[r] = -static_cast<float>(r % 16);
    tile.high[r] = tile.low[r] + 15;
  }
  return tile;
}

TEST(ColumnKernels, SpreadIsARankOneUpdate) {
  for (base::Isa isa : levels()) {
    for (std::int64_t width : {0, 1, 7, 70}) {
      Tile tile = random_tile(1);
      const Tile before = random_tile(1), other = random_tile(2);
      std::vector<float> row(70);
      for (std::size_t j = 0; j < row.size(); ++j) row[j] = static_cast<float>(j) - 30.5f;
      column_kernels(isa).spread(tile.columns, other.columns[0], row.data(), width);
      for (std::int64_t j = 0; j < 70; ++j) {
        for (std::int64_t r = 0; r < kColumnRows; ++r) {
          const double expected = before.columns[j][r] + (j < width ? static_cast<double>(other.columns[0][r]) * row[static_cast<std::size_t>(j)] : 0);
          EXPECT_NEAR(tile.columns[j][r], expected, 1e-4) << base::to_string(isa);
        }
      }
    }
  }
}

TEST(ColumnKernels, AddIsAMultipleOfARow) {
  for (base::Isa isa : levels()) {
    for (std::int64_t count : {0, 1, 15, 16, 37, 200}) {
      std::vector<float> to(201), row(201);
      for (std::size_t i = 0; i < to.size(); ++i) {
        to[i] = static_cast<float>(i);
        row[i] = 3 - static_cast<float>(i % 7);
      }
      column_kernels(isa).add(to.data() + 1, 0.5f, row.data() + 1, count);
      for (std::size_t i = 0; i < to.size(); ++i) {
        const bool inside = i >= 1 && static_cast<std::int64_t>(i) <= count;
        EXPECT_FLOAT_EQ(to[i], static_cast<float>(i) + (inside ? 0.5f * row[i] : 0)) << base::to_string(isa);
      }
    }
  }
}

TEST(ColumnKernels, FitSumsTheErrorsOfNearestSteps) {
  const Tile tile = random_tile(3);
  std::vector<float> importance(70);
  for (std::size_t k = 0; k < importance.size(); ++k) importance[k] = 0.5f + static_cast<float>(k % 5);
  for (base::Isa isa : levels()) {
    for (const float* h : {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data())}) {
      GridFit fit;
      column_kernels(isa).fit(tile.columns, h, 69, tile.scale, tile.low, tile.high, &fit);
      for (std::int64_t r = 0; r < kColumnRows; ++r) {
        double error = 0, along = 0, square = 0;
        for (int k = 0; k < 69; ++k) {
          const double w = tile.columns[k][r], weight = h == nullptr ? 1 : h[k];
          double best = 1e9, steps = 0;
          for (double c = tile.low[r]; c <= tile.high[r]; ++c) {  // by trying each
            if (std::abs(w - c * tile.scale[r]) < best) best = std::abs(w - c * tile.scale[r]), steps = c;
          }
          error += weight * best * best;
          along += weight * steps * w;
          square += weight * steps * steps;
        }
        EXPECT_NEAR(fit.error[r], error, 1e-4 * (1 + error)) << base::to_string(isa);
        EXPECT_NEAR(fit.along[r], along, 1e-4 * (1 + std::abs(along)));
        EXPECT_NEAR(fit.square[r], square, 1e-4 * (1 + square));
      }
    }
  }
}

TEST(ColumnKernels, RoundAndDescendStayInRange) {
  const Tile tile = random_tile(4);
  for (base::Isa isa : levels()) {
    alignas(64) float steps[kColumnRows], error[kColumnRows], change[kColumnRows], before[kColumnRows];
    column_kernels(isa).round(tile.columns[0], tile.columns[1], tile.scale, tile.low, tile.high, steps, error);
    for (std::int64_t r = 0; r < kColumnRows; ++r) {
      const float limited = std::min(std::max(std::nearbyint(tile.columns[0][r] / tile.scale[r]), tile.low[r]), tile.high[r]);
      EXPECT_EQ(steps[r], limited);
      EXPECT_NEAR(error[r], tile.columns[1][r] - steps[r] * tile.scale[r], 1e-5);
      before[r] = steps[r];
    }
    EXPECT_TRUE(column_kernels(isa).descend(tile.columns[2], 0.75f, tile.scale, tile.low, tile.high, steps, change));
    for (std::int64_t r = 0; r < kColumnRows; ++r) {
      EXPECT_EQ(steps[r], std::min(std::max(std::nearbyint(before[r] + 0.75f * tile.columns[2][r] / tile.scale[r]), tile.low[r]), tile.high[r]));
      EXPECT_NEAR(change[r], (before[r] - steps[r]) * tile.scale[r], 1e-5);
    }
    const TileColumn nothing = {};
    EXPECT_FALSE(column_kernels(isa).descend(nothing, 1, tile.scale, tile.low, tile.high, steps, change));
    for (float c : change) EXPECT_EQ(c, 0);
  }
}

}  // namespace
}  // namespace narrow::kernels
