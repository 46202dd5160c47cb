#include "passes/edit.h"

#include <algorithm>

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

bool captured_by_subgraph(const Graph& graph, const std::string& name) {
  for (const Node& node : graph.nodes) {
    bool found = false;
    for_each_subgraph(const_cast<Node&>(node), [&](Graph& sub) {
      const ValueId id = sub.find_value(name);
      found = found || (id != kNoValue && sub.value(id).captured);
    });
    if (found) return true;
  }
  return false;
}

bool contains(const std::vector<ValueId>& ids, ValueId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

}  // namespace

void replace_uses(Graph& graph, ValueId from, ValueId to) {
  for (Node& node : graph.nodes) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  std::replace(graph.outputs.begin(), graph.outputs.end(), from, to);
}

bool bypass(Graph& graph, int index, ValueId source) {
  Node& node = graph.nodes[static_cast<std::size_t>(index)];
  const ValueId out = node.output(0);
  if (out == kNoValue || source == kNoValue) return false;
  if (captured_by_subgraph(graph, graph.value(out).name)) return false;
  if (contains(graph.outputs, out)) {
    // The output's name must survive, so whoever makes `source` makes `out` instead.
    const graph::Value& made = graph.value(source);
    if (made.constant || made.captured || contains(graph.inputs, source) || contains(graph.outputs, source) ||
        captured_by_subgraph(graph, made.name)) {
      return false;
    }
    node.inputs.clear();
    node.outputs.clear();
    for (Node& other : graph.nodes) {
      std::replace(other.outputs.begin(), other.outputs.end(), source, out);
      std::replace(other.inputs.begin(), other.inputs.end(), source, out);
    }
    return true;
  }
  node.inputs.clear();
  node.outputs.clear();
  replace_uses(graph, out, source);
  return true;
}

int remove_emptied(Graph& graph) {
  return static_cast<int>(std::erase_if(graph.nodes, [](const Node& node) { return node.outputs.empty(); }));
}

std::string UniqueNames::make(const std::string& base) {
  std::string name = base;
  for (int i = 1; !taken_.insert(name).second; ++i) name = base + "_" + std::to_string(i);
  return name;
}

void UniqueNames::collect(const Graph& graph) {
  for (const graph::Value& value : graph.values) taken_.insert(value.name);
  for (const Node& node : graph.nodes) {
    for_each_subgraph(const_cast<Node&>(node), [&](Graph& body) { collect(body); });
  }
}

bool is_fixed_constant(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.value(id).constant.has_value() && !contains(graph.inputs, id);
}

}  // namespace narrow::passes
