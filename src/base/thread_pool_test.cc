#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace narrow::base {
namespace {

TEST(ThreadPool, EveryIndexRunsOnceWhateverTheThreads) {
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (std::size_t count : {0u, 1u, 2u, 1000u}) {
      std::vector<std::atomic<int>> seen(count);
      pool.parallel_for(count, [&](std::size_t i, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++seen[i];
      });
      for (const auto& n : seen) EXPECT_EQ(n, 1);
    }
  }
}

TEST(ThreadPool, AnotherPoolsWorkerIndexIsNotTakenOver) {
  ThreadPool outer(4);
  std::atomic<int> beyond{0};
  outer.parallel_for(64, [&](std::size_t, int) {
    ThreadPool inner(1);
    inner.parallel_for(3, [&](std::size_t, int worker) { beyond += worker >= inner.threads(); });
  });
  EXPECT_EQ(beyond, 0);
}

TEST(ThreadPool, NestedCallsRunOnTheSameWorker) {
  ThreadPool pool(3);
  std::atomic<int> total{0};
  pool.parallel_for(8, [&](std::size_t, int outer) {
    pool.parallel_for(5, [&](std::size_t, int inner) {
      EXPECT_EQ(inner, outer);
      ++total;
    });
  });
  EXPECT_EQ(total, 40);
}

TEST(ThreadPool, ManyShortCalls) {
  ThreadPool pool(4);
  std::atomic<int> total{0};
  for (int i = 0; i < 2000; ++i) pool.parallel_for(3, [&](std::size_t, int) { ++total; });
  EXPECT_EQ(total, 6000);
}

}  // namespace
}  // namespace narrow::base
