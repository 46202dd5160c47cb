#include "runtime/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/checked.h"

namespace narrow::runtime {

MemoryPlan plan_memory(std::span<const Lifetime> lifetimes) {
  MemoryPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  struct Placed { std::uint64_t begin, end; int first, last; };
  std::vector<Placed> placed;  // ascending by begin
  placed.reserve(lifetimes.size());
  for (std::size_t i : order) {
    const Lifetime& wanted = lifetimes[i];
    const std::uint64_t size = base::round_up(std::max<std::uint64_t>(wanted.bytes, 1), kSlotAlignment);
    plan.unshared += size;
    // The tightest gap between the buffers that live at the same time, or the space after them.
    std::uint64_t cursor = 0, best = 0, best_gap = std::numeric_limits<std::uint64_t>::max();
    bool found = false;
    for (const Placed& other : placed) {
      if (other.last < wanted.first || wanted.last < other.first) continue;
      if (other.begin >= cursor + size && other.begin - cursor < best_gap) {
        best = cursor;
        best_gap = other.begin - cursor;
        found = true;
      }
      cursor = std::max(cursor, other.end);
    }
    if (!found) best = cursor;
    plan.offsets[i] = best;
    plan.total = std::max(plan.total, best + size);
    const Placed slot{best, best + size, wanted.first, wanted.last};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), slot,
                                   [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                  slot);
  }
  return plan;
}

}  // namespace narrow::runtime
