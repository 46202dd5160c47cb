// A fixed set of worker threads that sleep when idle. Work is handed out in index order; results must not depend on
// which thread ran what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace narrow::base {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // threads >= 1, the caller's thread included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(index, worker) for each index in [0, count); worker in [0, threads()). Returns when all are done.
  // Calls from inside a body run serially on that worker.
  void parallel_for(std::size_t count, const std::function<void(std::size_t index, int worker)>& body);

  // Memory of one worker, 64-byte aligned, kept from call to call. Valid until the next call for that worker, so for
  // bodies that hand nothing to another user of the pool. Throws std::bad_alloc.
  std::uint8_t* scratch(int worker, std::size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Processors this process may run on (affinity respected), at least 1.
int available_processors();

}  // namespace narrow::base
