// Runs one graph (the model's, or a subgraph's body): a plan for each set of input types, kept in a small cache.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "operators/operator.h"
#include "runtime/environment.h"
#include "runtime/plan.h"

namespace narrow::runtime {

using Tap = std::function<Status(graph::ValueId, const Tensor&)>;

class Executor {
 public:
  // `feeds`: the values that every run brings (graph inputs, captured values). `environment` must outlive the executor.
  // Errors: corrupt (structure or types).
  static Result<std::unique_ptr<Executor>> create(graph::Graph graph, std::vector<graph::ValueId> feeds,
                                                  PlanRequest request, Environment& environment);

  void set_tap(Tap tap);  // called for the request's `kept` values

  // Plans ahead of the first run. `feeds` as in run(), but only types and shapes matter.
  Status plan_for(std::span<const graph::Type> types);

  // `feeds` in the order given to create; undefined where the graph's own constant stands. `outer` is the node that this
  // graph is a body of, or null. Outputs may lie in the arena: valid until the next run, and never freed under the caller.
  Result<std::vector<RuntimeValue>> run(std::span<const RuntimeValue> feeds, operators::RunContext* outer);

  const graph::Graph& graph() const { return graph_; }
  std::uint64_t weight_bytes() const;
  const Plan* last_plan() const { return plans_.empty() ? nullptr : plans_.front().second.get(); }

 private:
  // What a plan is made for: of sequences and optionals the shapes do not matter.
  struct Fed {
    RuntimeValue::Kind kind;
    DType dtype;
    Shape shape;
    bool operator==(const Fed&) const = default;
  };
  using Key = std::vector<Fed>;
  static constexpr std::size_t kCachedPlans = 8;

  Executor(graph::Graph graph, std::vector<graph::ValueId> feeds, PlanRequest request, Environment& environment);
  Result<Plan*> plan(const Key& key);
  Status reserve_arena(std::uint64_t bytes);
  Status run_nodes(Plan& plan, operators::RunContext* outer);
  Status tap_value(graph::ValueId id, const Tensor& tensor);

  graph::Graph graph_;    // as given
  graph::Graph folded_;   // with what depends on constants only computed
  std::vector<graph::ValueId> feeds_;
  PlanRequest request_;
  Environment& environment_;
  Tap tap_;
  std::vector<bool> tapped_;
  std::list<std::pair<Key, std::unique_ptr<Plan>>> plans_;  // most recently used first
  std::shared_ptr<void> arena_;
  std::uint64_t arena_capacity_ = 0;
};

}  // namespace narrow::runtime
