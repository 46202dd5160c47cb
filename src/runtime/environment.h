// What the executors of one session share: threads, the switch and the records of profiling, the depth of subgraphs.
#pragma once

#include <deque>

#include "base/thread_pool.h"
#include "runtime/session.h"

namespace narrow::runtime {

struct Environment {
  explicit Environment(const SessionOptions& options)
      : pool(options.threads), threads(pool.threads()), profile(options.profile) {}

  base::ThreadPool pool;
  int threads;
  bool profile;
  std::deque<NodeProfile> profiles;  // a deque: plans keep pointers to the records
};

// Subgraphs nest this deep at most: each level costs stack.
inline constexpr int kMaxSubgraphDepth = 64;

}  // namespace narrow::runtime
