// A graph made ready for one set of input types: needed nodes only, kernels prepared, memory planned.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "operators/operator.h"
#include "runtime/environment.h"

namespace narrow::runtime {

// A place in the arena for a value of exactly this type.
struct Slot {
  bool planned = false;
  std::uint64_t offset = 0;
  DType dtype = DType::kUndefined;
  Shape shape;
};

struct PlannedNode {
  const graph::Node* node = nullptr;
  std::unique_ptr<operators::Kernel> kernel;
  bool aliases_input = false;
  bool only_reshapes = false;  // another shape over the same bytes, both known
  bool takes_values = false;
  std::vector<graph::ValueId> last_used;  // not needed after this node
  NodeProfile* profile = nullptr;
};

struct Plan {
  graph::Graph graph;                // types inferred, known values as constants; value ids as in the original
  std::vector<PlannedNode> nodes;    // pointing into `graph`
  std::vector<Slot> slots;           // per value
  std::vector<RuntimeValue> values;  // per value: constants, then whatever the current run has produced
  std::uint64_t arena_bytes = 0;
  std::uint64_t unshared_bytes = 0;
};

struct PlanRequest {
  std::vector<graph::ValueId> kept;  // needed besides the graph's outputs (tapped)
  bool outputs_in_arena = true;      // false for subgraphs: the caller keeps outputs over the next run
  int depth = 0;                     // of nested subgraphs
  std::string scope;                 // prefix of node names in profiles
};

// Computes what depends on constants only, once for all plans. A result much larger than what it is made from stays a
// node. Errors: corrupt, from type inference.
Status fold_constants(graph::Graph& graph);

// The types of the graph's inputs and captured values are set to what this run brings. Errors: unsupported (naming the
// node that narrow cannot run), corrupt (impossible types), and what kernels say about their attributes.
Result<std::unique_ptr<Plan>> make_plan(graph::Graph graph, const PlanRequest& request, Environment& environment);

// Errors: unsupported, naming the first needed node (subgraphs included) without a kernel.
Status check_supported(const graph::Graph& graph, std::span<const graph::ValueId> kept, int depth = 0);

}  // namespace narrow::runtime
