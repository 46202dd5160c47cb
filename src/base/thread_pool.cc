#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace narrow::base {
namespace {
thread_local int t_worker = -1;             // the worker index while inside a body
thread_local const void* t_pool = nullptr;  // of the pool that the index belongs to
}

struct ThreadPool::State {
  struct Scratch {
    std::unique_ptr<std::uint8_t, decltype(&std::free)> memory{nullptr, std::free};
    std::size_t capacity = 0;
  };
  std::vector<Scratch> scratch;  // one a worker
  std::vector<std::thread> workers;
  std::mutex call_mutex;  // one parallel_for at a time
  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(std::size_t, int)>* body = nullptr;
  std::size_t count = 0;
  std::atomic<std::size_t> next{0};
  std::uint64_t generation = 0;
  int running = 0;
  bool stop = false;

  void drain(int worker) {
    const int outer = std::exchange(t_worker, worker);
    const void* outer_pool = std::exchange(t_pool, this);
    for (std::size_t i; (i = next.fetch_add(1)) < count;) (*body)(i, worker);
    t_worker = outer;
    t_pool = outer_pool;
  }

  void loop(int worker) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex);
    while (true) {
      wake.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      lock.unlock();
      drain(worker);
      lock.lock();
      if (--running == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  state_->scratch.resize(static_cast<std::size_t>(std::max(1, threads)));
  for (int w = 1; w < std::max(1, threads); ++w) state_->workers.emplace_back([s = state_.get(), w] { s->loop(w); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
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
  std::lock_guard call(state_->call_mutex);
  {
    std::lock_guard lock(state_->mutex);
    state_->body = &body;
    state_->count = count;
    state_->next = 0;
    state_->running = static_cast<int>(state_->workers.size());
    ++state_->generation;
  }
  state_->wake.notify_all();
  state_->drain(0);
  std::unique_lock lock(state_->mutex);
  state_->done.wait(lock, [&] { return state_->running == 0; });
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
