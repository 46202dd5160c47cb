#include <numeric>

#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

bool is_identity_permutation(const std::vector<std::int64_t>& perm) {
  for (std::size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<std::int64_t>(i)) return false;
  }
  return !perm.empty();
}

// Known to be the same type, every dimension included; a symbol counts as known.
bool same_type(const Type& a, const Type& b) {
  if (a.kind != graph::TypeKind::kTensor || b.kind != a.kind || a.dtype != b.dtype || !a.ranked || !b.ranked ||
      a.dims.size() != b.dims.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.dims.size(); ++i) {
    if (!a.dims[i].same(b.dims[i])) return false;
  }
  return true;
}

bool pads_nothing(const Graph& graph, const Node& node) {
  if (!is_fixed_constant(graph, node.input(1))) return false;
  const Tensor& pads = *graph.constant(node.input(1));
  if (!is_integer(pads.dtype())) return false;
  for (std::int64_t pad : pads.to_int64()) {
    if (pad != 0) return false;
  }
  return true;
}

bool only_first_output(const Node& node, const graph::Uses& uses) {
  for (std::size_t i = 1; i < node.outputs.size(); ++i) {
    const ValueId id = node.outputs[i];
    if (id != kNoValue && (!uses.readers[id].empty() || uses.is_output[id])) return false;
  }
  return true;
}

// The value that output 0 of the node always equals, or kNoValue.
ValueId equivalent(const Graph& graph, const Node& node, const graph::Uses& uses) {
  const ValueId in = node.input(0);
  if (in == kNoValue || node.output(0) == kNoValue || !node.domain.empty()) return kNoValue;
  const Type& before = graph.value(in).type;
  const Type& after = graph.value(node.output(0)).type;
  if (node.op_type == "Identity") return in;
  if (node.op_type == "Dropout") return only_first_output(node, uses) ? in : kNoValue;
  if (node.op_type == "Cast") return before.dtype != DType::kUndefined && before.dtype == after.dtype ? in : kNoValue;
  if (node.op_type == "Reshape" || node.op_type == "Flatten" || node.op_type == "Expand") {
    return same_type(before, after) ? in : kNoValue;
  }
  if (node.op_type == "Concat") return node.inputs.size() == 1 ? in : kNoValue;
  if (node.op_type == "Pad") return pads_nothing(graph, node) ? in : kNoValue;
  if (node.op_type == "Transpose") {
    const std::vector<std::int64_t> perm = node.get_ints("perm");
    if (is_identity_permutation(perm)) return in;
    const int producer = uses.producer[in];
    if (producer < 0) return kNoValue;
    const Node& first = graph.nodes[static_cast<std::size_t>(producer)];
    const std::vector<std::int64_t> inner = first.get_ints("perm");
    if (!first.is("Transpose") || inner.size() != perm.size() || perm.empty()) return kNoValue;
    for (std::size_t i = 0; i < perm.size(); ++i) {
      if (perm[i] < 0 || perm[i] >= static_cast<std::int64_t>(perm.size())) return kNoValue;
      if (inner[static_cast<std::size_t>(perm[i])] != static_cast<std::int64_t>(i)) return kNoValue;
    }
    return first.input(0);
  }
  return kNoValue;
}

}  // namespace

Result<int> remove_no_ops(Graph& graph) {
  const std::size_t before = graph.nodes.size();
  int inside = 0;
  bool changed = true;
  while (changed) {
    changed = false;
    graph::Uses uses(graph);
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const ValueId source = equivalent(graph, graph.nodes[n], uses);
      if (source == kNoValue || !bypass(graph, static_cast<int>(n), source)) continue;
      changed = true;
      uses = graph::Uses(graph);
    }
    remove_emptied(graph);
  }
  for (Node& node : graph.nodes) {
    Status status;
    for_each_subgraph(node, [&](Graph& sub) {
      if (!status.ok()) return;
      Result<int> removed = remove_no_ops(sub);
      if (removed.ok()) inside += *removed;
      else status = std::move(removed).error();
    });
    NARROW_RETURN_IF_ERROR(std::move(status));
  }
  graph::remove_dead(graph);
  return static_cast<int>(before - graph.nodes.size()) + inside;
}

}  // namespace narrow::passes
