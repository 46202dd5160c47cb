#include "evaluation/subgraphs.h"

namespace narrow::evaluation {
namespace {

// Nested graphs deeper than this are not looked into; formats refuse such files.
constexpr int kMaxDepth = 64;

void walk(const graph::Graph& graph, const std::function<void(const graph::Graph&)>& visit, int depth) {
  visit(graph);
  if (depth == kMaxDepth) return;
  for (const graph::Node& node : graph.nodes) {
    for (const graph::Attribute& attribute : node.attributes) {
      if (const auto* one = std::get_if<graph::GraphPtr>(&attribute.value); one != nullptr && *one) {
        walk(**one, visit, depth + 1);
      } else if (const auto* many = std::get_if<std::vector<graph::GraphPtr>>(&attribute.value)) {
        for (const graph::GraphPtr& each : *many) {
          if (each) walk(*each, visit, depth + 1);
        }
      }
    }
  }
}

}  // namespace

void for_each_graph(const graph::Graph& graph, const std::function<void(const graph::Graph&)>& visit) { walk(graph, visit, 0); }

}  // namespace narrow::evaluation
