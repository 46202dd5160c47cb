#include <map>

#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

graph::ValueId scaled(graph::Graph& graph, graph::ValueId id, float factor) {
  Tensor tensor = graph.constant(id)->clone();
  for (float& x : tensor.mutable_data<float>()) x *= factor;
  return graph.add_constant(graph.value(id).name + "_scaled", std::move(tensor));
}

}  // namespace

Result<int> fold_gemm_factors(graph::Graph& graph) {
  int folded = 0;
  std::map<std::pair<graph::ValueId, float>, graph::ValueId> made;  // shared weights stay shared
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    graph::Node& node = graph.nodes[n];
    if (!node.is("Gemm")) continue;
    for (const auto& [name, input] : {std::pair{"alpha", 1u}, std::pair{"beta", 2u}}) {
      const float factor = node.get_float(name, 1.0f);
      const graph::ValueId id = node.input(input);
      if (factor == 1.0f || id == graph::kNoValue) {
        if (id == graph::kNoValue) node.erase(name);
        continue;
      }
      if (!is_fixed_constant(graph, id) || graph.constant(id)->dtype() != DType::kF32) continue;
      auto [it, fresh] = made.try_emplace({id, factor}, graph::kNoValue);
      if (fresh) it->second = scaled(graph, id, factor);
      node.inputs[input] = it->second;
      node.erase(name);
      ++folded;
    }
  }
  if (folded > 0) graph::remove_dead(graph);
  return folded;
}

}  // namespace narrow::passes
