// Where activations lie in one arena: values whose lifetimes do not overlap share bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace narrow::runtime {

inline constexpr std::uint64_t kSlotAlignment = 64;

// A buffer that must exist from step `first` to step `last`, both included.
struct Lifetime {
  std::uint64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<std::uint64_t> offsets;  // one per lifetime, multiples of kSlotAlignment
  std::uint64_t total = 0;             // bytes of the arena
  std::uint64_t unshared = 0;          // what the buffers would take side by side
};

// Greedy best fit, largest buffer first. Buffers that live at a common step never overlap. Precondition: sizes below
// 2^46, so that sums cannot overflow.
MemoryPlan plan_memory(std::span<const Lifetime> lifetimes);

}  // namespace narrow::runtime
