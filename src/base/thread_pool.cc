#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace narrow::base {
namespace {
thread_local int t_worker = -1;             // the worker index while inside a body
thread_local const void* t_pool = nullptr;  // of the pool that the index belongs to

constexpr int kSpins = 1500;  // some ten microseconds

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// A job is open while `epoch` is odd. Workers join an open job and the caller, who works too, waits only for those that
// did: one that the system does not let run in time is not missed. Workers look for the next job a little while before they
// sleep, so that the steps of one inference find them awake, and no longer: a busy machine loses little to them.
struct ThreadPool::State {
  struct Scratch {
    std::unique_ptr<std::uint8_t, decltype(&std::free)> memory{nullptr, std::free};
    std::size_t capacity = 0;
  };
  std::vector<Scratch> scratch;  // one a worker
  std::vector<std::thread> workers;
  std::mutex call_mutex;  // one parallel_for at a time
  const std::function<void(std::size_t, int)>* body = nullptr;
  std::size_t count = 0;
  std::atomic<std::size_t> next{0};
  std::atomic<std::uint32_t> epoch{0};
  std::atomic<int> joined{0};  // workers that may be inside the body
  std::atomic<bool> stop{false};
  std::mutex failure_mutex;
  std::exception_ptr failure;  // the first of the job

  void drain(int worker) {
    const int outer = std::exchange(t_worker, worker);
    const void* outer_pool = std::exchange(t_pool, this);
    try {
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) (*body)(i, worker);
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
    t_worker = outer;
    t_pool = outer_pool;
  }

  void loop(int worker) {
    std::uint32_t done = 0;  // the last job seen
    while (true) {
      const std::uint32_t now = epoch.load();
      if (stop.load()) return;  // after the epoch: what is read there may be slept on
      if (now % 2 == 0 || now == done) {
        if (!changes_soon(epoch, now)) epoch.wait(now);
        continue;
      }
      // Joining and closing are both followed by a look at the other's variable: one of the two sees the other.
      joined.fetch_add(1);
      if (epoch.load() == now) drain(worker);
      done = now;
      if (joined.fetch_sub(1) == 1) joined.notify_one();
    }
  }

  template <typename T>
  static bool changes_soon(const std::atomic<T>& value, T old) {
    for (int i = 0; i < kSpins; ++i) {
      if (value.load(std::memory_order_acquire) != old) return true;
      pause();
    }
    return false;
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  state_->scratch.resize(static_cast<std::size_t>(std::max(1, threads)));
  for (int w = 1; w < std::max(1, threads); ++w) state_->workers.emplace_back([s = state_.get(), w] { s->loop(w); });
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->epoch.fetch_add(2);
  state_->epoch.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallel_for(std::size_t count, const std::function<void(std::size_t, int)>& body) {
  if (t_worker >= 0 || count <= 1 || state_->workers.empty()) {
    // Another pool's index may be beyond this one's threads.
    const int worker = t_pool == state_.get() ? std::max(0, t_worker) : 0;
    for (std::size_t i = 0; i < count; ++i) body(i, worker);
    return;
  }
  const std::lock_guard call(state_->call_mutex);
  State& s = *state_;
  s.body = &body;
  s.count = count;
  s.next.store(0, std::memory_order_relaxed);
  s.epoch.fetch_add(1);
  s.epoch.notify_all();
  s.drain(0);
  s.epoch.fetch_add(1);
  for (int left; (left = s.joined.load()) != 0;) {
    if (!State::changes_soon(s.joined, left)) s.joined.wait(left);
  }
  if (s.failure) std::rethrow_exception(std::exchange(s.failure, nullptr));
}

std::uint8_t* ThreadPool::scratch(int worker, std::size_t bytes) {
  State::Scratch& own = state_->scratch[static_cast<std::size_t>(worker)];
  if (own.capacity < bytes) {
    own.capacity = 0;
    own.memory.reset();
    const std::size_t rounded = (bytes + 4095) / 4096 * 4096;
    own.memory.reset(static_cast<std::uint8_t*>(std::aligned_alloc(64, rounded)));
    if (own.memory == nullptr) throw std::bad_alloc();
    own.capacity = rounded;
  }
  return own.memory.get();
}

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace narrow::base
