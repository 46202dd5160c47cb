#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <thread>
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

TEST(ThreadPool, WorkersThatSleptJoinAgain) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> others{0}, total{0};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pool.parallel_for(200, [&](std::size_t, int worker) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      others += worker != 0;
      ++total;
    });
    EXPECT_EQ(total, 200);
    EXPECT_GT(others, 0);
  }
}

TEST(ThreadPool, ThrowsWhatABodyThrows) {
  ThreadPool pool(3);
  for (std::size_t bad : {0u, 7u, 63u}) {
    EXPECT_THROW(pool.parallel_for(64, [&](std::size_t i, int) { if (i == bad) throw std::bad_alloc(); }), std::bad_alloc);
    std::atomic<int> total{0};
    pool.parallel_for(64, [&](std::size_t, int) { ++total; });
    EXPECT_EQ(total, 64);
  }
}

TEST(ThreadPool, ScratchBelongsToAWorker) {
  ThreadPool pool(3);
  std::uint8_t* first = pool.scratch(1, 100);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(pool.scratch(1, 4000), first) << "memory that is large enough is kept";
  EXPECT_NE(pool.scratch(2, 100), first);
  std::fill_n(pool.scratch(1, 1 << 20), 1 << 20, std::uint8_t{7});
}

TEST(ThreadPool, ManyShortCalls) {
  ThreadPool pool(4);
  std::atomic<int> total{0};
  for (int i = 0; i < 2000; ++i) pool.parallel_for(3, [&](std::size_t, int) { ++total; });
  EXPECT_EQ(total, 6000);
}

}  // namespace
}  // namespace narrow::base
