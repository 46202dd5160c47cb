#include "operators/broadcast.h"

#include <algorithm>

namespace narrow::operators {

Result<Shape> broadcast_shapes(const graph::Node& node, std::span<const Shape* const> shapes) {
  std::size_t rank = 0;
  for (const Shape* shape : shapes) rank = std::max(rank, shape->size());
  Shape out(rank, 1);
  for (const Shape* shape : shapes) {
    const std::size_t missing = rank - shape->size();
    for (std::size_t i = 0; i < shape->size(); ++i) {
      std::int64_t& dim = out[missing + i];
      const std::int64_t other = (*shape)[i];
      if (dim == 1) dim = other;
      else if (other != 1 && other != dim) {
        std::string all;
        for (const Shape* s : shapes) all += (all.empty() ? "" : " and ") + to_string(*s);
        return invalid_argument(fmt::format("{}: shapes {} cannot be broadcast together", where(node), all));
      }
    }
  }
  return out;
}

BroadcastPlan plan_broadcast(const Shape& output, std::span<const Shape* const> shapes) {
  BroadcastPlan plan;
  plan.elements = 1;
  for (std::int64_t dim : output) plan.elements *= dim;

  // Strides of every input over the output's axes, 0 where it is repeated.
  std::vector<BroadcastPlan::Axis> axes;
  BroadcastPlan::Offsets running;
  running.fill(1);
  for (std::size_t from_end = 0; from_end < output.size(); ++from_end) {
    BroadcastPlan::Axis axis{output[output.size() - 1 - from_end], {}};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      if (from_end >= shapes[i]->size()) continue;
      const std::int64_t dim = (*shapes[i])[shapes[i]->size() - 1 - from_end];
      axis.strides[i] = dim == 1 ? 0 : running[i];
      running[i] *= dim;
    }
    if (axis.extent == 1) continue;
    // Joins the axis to the faster one before it when all inputs step through both as through one.
    if (!axes.empty()) {
      BroadcastPlan::Axis& fast = axes.back();
      bool joins = true;
      for (std::size_t i = 0; i < shapes.size(); ++i) joins = joins && axis.strides[i] == fast.strides[i] * fast.extent;
      if (joins) {
        fast.extent *= axis.extent;
        continue;
      }
    }
    axes.push_back(axis);
  }
  if (!axes.empty()) {
    plan.inner = std::max<std::int64_t>(1, axes.front().extent);
    plan.inner_strides = axes.front().strides;
    plan.outer.assign(axes.rbegin(), axes.rend() - 1);
  }
  return plan;
}

BroadcastPlan::Offsets BroadcastPlan::offsets_at(std::int64_t index) const {
  Offsets offsets{};
  for (std::size_t a = outer.size(); a-- > 0 && index != 0;) {
    const std::int64_t at = index % outer[a].extent;
    index /= outer[a].extent;
    for (int i = 0; i < kMaxInputs; ++i) offsets[i] += at * outer[a].strides[i];
  }
  return offsets;
}

}  // namespace narrow::operators
