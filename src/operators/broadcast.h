// Walking tensors of different shapes together, as numpy broadcasts them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "operators/dispatch.h"

namespace narrow::operators {

// The shape all of them broadcast to. Errors: invalid_argument, naming the node and the shapes.
Result<Shape> broadcast_shapes(const graph::Node& node, std::span<const Shape* const> shapes);

// Up to three inputs laid over one output: outer dimensions, and an innermost run in which each input's stride is 0 or 1.
struct BroadcastPlan {
  static constexpr int kMaxInputs = 3;
  using Offsets = std::array<std::int64_t, kMaxInputs>;
  struct Axis {
    std::int64_t extent;
    Offsets strides;
  };
  std::vector<Axis> outer;  // slowest first
  std::int64_t inner = 1;
  Offsets inner_strides{};
  std::int64_t elements = 0;  // of the output

  Offsets offsets_at(std::int64_t outer_index) const;
};

// Precondition: each shape broadcasts to `output`.
BroadcastPlan plan_broadcast(const Shape& output, std::span<const Shape* const> shapes);

// Calls f(output_offset, input_offsets, n) for runs of n elements that cover the output, possibly from several threads.
template <typename F>
void for_each_run(const BroadcastPlan& plan, base::ThreadPool& pool, F&& f) {
  parallel_ranges(pool, plan.elements, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t skip = at % plan.inner;
      const std::int64_t n = std::min(plan.inner - skip, end - at);
      BroadcastPlan::Offsets offsets = plan.offsets_at(at / plan.inner);
      for (int i = 0; i < BroadcastPlan::kMaxInputs; ++i) offsets[i] += skip * plan.inner_strides[i];
      f(at, offsets, n);
      at += n;
    }
  });
}

}  // namespace narrow::operators
