// Small edits that several passes share.
#pragma once

#include <string>
#include <unordered_set>

#include "graph/graph.h"

namespace narrow::passes {

// Every reader of `from` (nodes and graph outputs) reads `to` instead.
void replace_uses(graph::Graph& graph, graph::ValueId from, graph::ValueId to);

// Takes node `index` out of the graph when its output 0 always equals the value `source`: readers of the output read
// `source`. When the output is a graph output, the producer of `source` writes it directly. Returns false, changing
// nothing, when names visible from outside (graph inputs and outputs, subgraph captures) would be lost.
// The node is left without outputs; remove_emptied() erases such nodes. `uses` must describe the graph before any
// bypass of values that this node touches.
bool bypass(graph::Graph& graph, int index, graph::ValueId source);

// Erases the nodes that bypass() emptied; returns how many.
int remove_emptied(graph::Graph& graph);

// A tensor attribute-free constant check: the value is an initializer that no caller can override.
bool is_fixed_constant(const graph::Graph& graph, graph::ValueId id);

// Makes value names that no graph of the model uses: a body may not reuse a name of the graphs around it.
class UniqueNames {
 public:
  explicit UniqueNames(const graph::Graph& graph) { collect(graph); }
  std::string make(const std::string& base);

 private:
  void collect(const graph::Graph& graph);
  std::unordered_set<std::string> taken_;
};

// Calls visit(subgraph) for each subgraph of the node.
template <typename Visit>
void for_each_subgraph(graph::Node& node, const Visit& visit) {
  for (graph::Attribute& attribute : node.attributes) {
    if (auto* one = std::get_if<graph::GraphPtr>(&attribute.value)) {
      if (*one != nullptr) visit(**one);
    } else if (auto* many = std::get_if<std::vector<graph::GraphPtr>>(&attribute.value)) {
      for (graph::GraphPtr& g : *many) {
        if (g != nullptr) visit(*g);
      }
    }
  }
}

}  // namespace narrow::passes
