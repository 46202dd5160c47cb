// Uses, order, verification and clean-up of a graph.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <unordered_set>

#include "graph/graph.h"

namespace narrow::graph {
namespace {

template <typename Visit>
void for_each_subgraph(const Node& node, const Visit& visit) {
  for (const Attribute& attribute : node.attributes) {
    if (const auto* one = std::get_if<GraphPtr>(&attribute.value)) {
      if (*one != nullptr) visit(**one);
    } else if (const auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
      for (const GraphPtr& g : *many) visit(*g);
    }
  }
}

// Values of `graph` that the node's subgraphs read (a subgraph lists what its own children capture).
std::vector<ValueId> captures_of(const Graph& graph, const Node& node) {
  std::vector<ValueId> ids;
  for_each_subgraph(node, [&](const Graph& sub) {
    for (const Value& value : sub.values) {
      if (!value.captured) continue;
      const ValueId id = graph.find_value(value.name);
      if (id != kNoValue) ids.push_back(id);
    }
  });
  return ids;
}

}  // namespace

Uses::Uses(const Graph& graph)
    : producer(graph.values.size(), -1), readers(graph.values.size()), is_output(graph.values.size(), false) {
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const int index = static_cast<int>(n);
    for (ValueId out : node.outputs) {
      if (out != kNoValue) producer[out] = index;
    }
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] != kNoValue) readers[node.inputs[i]].push_back({index, static_cast<int>(i)});
    }
    for (ValueId id : captures_of(graph, node)) readers[id].push_back({index, -1});
  }
  for (ValueId out : graph.outputs) is_output[out] = true;
}

Status sort_topologically(Graph& graph) {
  const Uses uses(graph);
  const std::size_t count = graph.nodes.size();
  std::vector<std::vector<int>> after(count);
  std::vector<int> waiting(count, 0);
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (uses.producer[v] < 0) continue;
    for (const Uses::Use& use : uses.readers[v]) {
      after[uses.producer[v]].push_back(use.node);
      ++waiting[use.node];
    }
  }
  // A min-heap on the index keeps the order stable.
  std::vector<int> ready;
  for (std::size_t n = 0; n < count; ++n) {
    if (waiting[n] == 0) ready.push_back(static_cast<int>(n));
  }
  std::make_heap(ready.begin(), ready.end(), std::greater<>());
  std::vector<Node> sorted;
  sorted.reserve(count);
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), std::greater<>());
    const int n = ready.back();
    ready.pop_back();
    for (int next : after[n]) {
      if (--waiting[next] == 0) {
        ready.push_back(next);
        std::push_heap(ready.begin(), ready.end(), std::greater<>());
      }
    }
    sorted.push_back(std::move(graph.nodes[n]));
    waiting[n] = -1;
  }
  if (sorted.size() != count) {
    for (std::size_t n = 0; n < count; ++n) {
      if (waiting[n] > 0) {
        return corrupt(fmt::format("node '{}' ({}) is part of a cycle; a graph must have none", graph.nodes[n].name,
                                   graph.nodes[n].op_type));
      }
    }
  }
  graph.nodes = std::move(sorted);
  return {};
}

Status verify(const Graph& graph, const std::string& where) {
  std::vector<bool> available(graph.values.size(), false);
  const auto in_range = [&](ValueId id) { return id >= 0 && static_cast<std::size_t>(id) < graph.values.size(); };
  std::unordered_set<std::string_view> names;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    const Value& value = graph.values[v];
    if (!names.insert(value.name).second) return corrupt(fmt::format("{}: two values are named '{}'", where, value.name));
    if (value.constant || value.captured) available[v] = true;
  }
  for (ValueId id : graph.inputs) {
    if (!in_range(id)) return internal_error(fmt::format("{}: graph input id {} is out of range", where, id));
    available[id] = true;
  }
  for (const Node& node : graph.nodes) {
    const auto name = [&] { return fmt::format("{}: node '{}' ({})", where, node.name, node.op_type); };
    for (ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      if (!in_range(id)) return internal_error(fmt::format("{}: input id {} is out of range", name(), id));
      if (!available[id]) {
        return corrupt(fmt::format("{} reads '{}', which no earlier node, input or initializer provides", name(),
                                   graph.value(id).name));
      }
    }
    for (ValueId id : captures_of(graph, node)) {
      if (!available[id]) return corrupt(fmt::format("{}: its subgraph reads '{}' before it is produced", name(), graph.value(id).name));
    }
    for (ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      if (!in_range(id)) return internal_error(fmt::format("{}: output id {} is out of range", name(), id));
      if (available[id]) return corrupt(fmt::format("{} writes '{}', which is already defined", name(), graph.value(id).name));
      available[id] = true;
    }
  }
  for (ValueId id : graph.outputs) {
    if (!in_range(id) || !available[id]) {
      return corrupt(fmt::format("{}: graph output '{}' is never produced", where, in_range(id) ? graph.value(id).name : "?"));
    }
  }
  return {};
}

int remove_dead(Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (ValueId id : graph.outputs) needed[id] = true;
  std::vector<Node> kept;
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    Node& node = graph.nodes[n];
    bool live = false;
    for (ValueId id : node.outputs) live = live || (id != kNoValue && needed[id]);
    if (!live) continue;
    for (ValueId id : node.inputs) {
      if (id != kNoValue) needed[id] = true;
    }
    for (ValueId id : captures_of(graph, node)) needed[id] = true;
    kept.push_back(std::move(node));
  }
  const int dropped = static_cast<int>(graph.nodes.size() - kept.size());
  graph.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));

  for (ValueId id : graph.inputs) needed[id] = true;
  for (const Node& node : graph.nodes) {
    for (ValueId id : node.outputs) {
      if (id != kNoValue) needed[id] = true;
    }
  }
  std::vector<ValueId> renumbered(graph.values.size(), kNoValue);
  std::vector<Value> values;
  for (std::size_t v = 0; v < graph.values.size(); ++v) {
    if (!needed[v]) continue;
    renumbered[v] = static_cast<ValueId>(values.size());
    values.push_back(std::move(graph.values[v]));
  }
  graph.values.clear();
  graph.find_value("");  // drops the stale index
  graph.values = std::move(values);
  const auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) {
      if (id != kNoValue) id = renumbered[id];
    }
  };
  renumber(graph.inputs);
  renumber(graph.outputs);
  for (Node& node : graph.nodes) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
  return dropped;
}

std::string print(const Graph& graph) {
  std::string text;
  const auto list = [&](const std::vector<ValueId>& ids) {
    std::string out;
    for (ValueId id : ids) {
      if (!out.empty()) out += ", ";
      out += id == kNoValue ? "-" : fmt::format("{}:{}", graph.value(id).name, to_string(graph.value(id).type));
    }
    return out;
  };
  text += fmt::format("graph {}({})\n", graph.name, list(graph.inputs));
  for (const Node& node : graph.nodes) {
    text += fmt::format("  {} = {}{}{}({})  # {}\n", list(node.outputs), node.domain, node.domain.empty() ? "" : ".",
                        node.op_type, list(node.inputs), node.name);
  }
  return text + fmt::format("  return {}\n", list(graph.outputs));
}

}  // namespace narrow::graph
