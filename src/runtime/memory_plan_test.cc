#include "runtime/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace narrow::runtime {
namespace {

void expect_valid(std::span<const Lifetime> lifetimes, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), lifetimes.size());
  for (std::size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % kSlotAlignment, 0u);
    EXPECT_LE(plan.offsets[i] + lifetimes[i].bytes, plan.total);
    for (std::size_t j = 0; j < i; ++j) {
      const bool together = lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
      const bool apart = plan.offsets[i] + lifetimes[i].bytes <= plan.offsets[j] ||
                         plan.offsets[j] + lifetimes[j].bytes <= plan.offsets[i];
      EXPECT_TRUE(!together || apart) << i << " and " << j << " overlap";
    }
  }
}

// Bytes that live at the busiest step: no plan can do with less.
std::uint64_t busiest(std::span<const Lifetime> lifetimes) {
  std::uint64_t most = 0;
  for (const Lifetime& at : lifetimes) {
    std::uint64_t live = 0;
    for (const Lifetime& l : lifetimes) {
      if (l.first <= at.first && at.first <= l.last) live += l.bytes;
    }
    most = std::max(most, live);
  }
  return most;
}

TEST(MemoryPlan, NothingToPlace) {
  const MemoryPlan plan = plan_memory({});
  EXPECT_EQ(plan.total, 0u);
}

TEST(MemoryPlan, AChainUsesTwoBuffers) {
  std::vector<Lifetime> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({640, i, i + 1});
  const MemoryPlan plan = plan_memory(chain);
  expect_valid(chain, plan);
  EXPECT_EQ(plan.total, 1280u);
  EXPECT_EQ(plan.unshared, 6400u);
}

TEST(MemoryPlan, TakesTheTightestGap) {
  // 0 and 1 lie below 2 and 3 and then die; the small late buffer belongs in the smaller hole.
  const std::vector<Lifetime> lifetimes = {{1024, 0, 1}, {960, 0, 9}, {512, 0, 1}, {448, 0, 9}, {384, 2, 3}};
  const MemoryPlan plan = plan_memory(lifetimes);
  expect_valid(lifetimes, plan);
  EXPECT_EQ(plan.offsets[4], plan.offsets[2]);
}

TEST(MemoryPlan, EmptyBuffersStillHaveAPlaceOfTheirOwn) {
  const std::vector<Lifetime> lifetimes = {{0, 0, 5}, {0, 0, 5}};
  const MemoryPlan plan = plan_memory(lifetimes);
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
}

TEST(MemoryPlan, RandomLifetimesNeverOverlapAndStayNearTheBound) {
  std::mt19937 random(7);
  double worst = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<Lifetime> lifetimes(1 + random() % 60);
    for (Lifetime& l : lifetimes) {
      l.first = static_cast<int>(random() % 40);
      l.last = l.first + static_cast<int>(random() % 12);
      l.bytes = 64 * (random() % 200);
    }
    const MemoryPlan plan = plan_memory(lifetimes);
    expect_valid(lifetimes, plan);
    EXPECT_LE(plan.total, plan.unshared);
    const std::uint64_t bound = busiest(lifetimes);
    if (bound != 0) worst = std::max(worst, static_cast<double>(plan.total) / static_cast<double>(bound));
  }
  EXPECT_LT(worst, 1.6);
}

}  // namespace
}  // namespace narrow::runtime
