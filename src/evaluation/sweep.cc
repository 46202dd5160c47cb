#include "evaluation/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>

#include "base/text.h"
#include "base/thread_pool.h"

namespace narrow::evaluation {

Status sweep(const datasets::Dataset& data, const SweepOptions& options, const MakeWorker& make_worker) {
  const std::size_t total = data.size();
  if (total == 0) return invalid_argument("the data set has no samples");
  const int threads = std::max(1, options.threads);
  const int workers = static_cast<int>(std::min<std::size_t>(total, static_cast<std::size_t>(threads)));

  std::vector<std::unique_ptr<Worker>> made;
  for (int i = 0; i < workers; ++i) {
    NARROW_TRY(std::unique_ptr<Worker> worker, make_worker(threads / workers));
    made.push_back(std::move(worker));
  }

  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<std::size_t> done{0};
  std::mutex mutex;
  std::size_t failed_index = std::numeric_limits<std::size_t>::max();
  std::optional<Error> failure;
  std::atomic<std::size_t> first_failure{failed_index};

  base::ThreadPool pool(workers);
  pool.parallel_for(total, [&](std::size_t index, int worker) {
    // Samples before a failure still run, so that the error named is always that of the first one.
    if (index > first_failure.load(std::memory_order_relaxed)) return;
    const auto visit = [&]() -> Status {
      NARROW_TRY(const datasets::Sample sample, data.read(index));
      return made[static_cast<std::size_t>(worker)]->visit(index, sample).context(
          fmt::format("on sample {} ('{}')", index, base::escape_controls(sample.name)));
    };
    if (Status status = visit(); !status.ok()) {
      const std::lock_guard lock(mutex);
      if (index < failed_index) {
        failed_index = index;
        failure = std::move(status).error();
        first_failure.store(index, std::memory_order_relaxed);
      }
    }
    const std::size_t count = done.fetch_add(1) + 1;
    if (options.progress && std::this_thread::get_id() == caller) options.progress(options.phase, count, total);
  });
  if (failure) return std::move(*failure);
  if (options.progress) options.progress(options.phase, total, total);
  return {};
}

}  // namespace narrow::evaluation
