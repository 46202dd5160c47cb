// The graph side of half precision.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "passes/edit.h"
#include "quantizers/quantizer.h"

namespace narrow::quantizers::float16 {

// Converts one graph and its subgraphs to f16. Float values keep their names and turn f16, except those that a float
// operator makes. `outer_types` holds the converted types of the values of enclosing graphs.
class Converter {
 public:
  Converter(graph::Graph& graph, const Recipe& recipe, passes::UniqueNames& names, std::map<std::string, DType> outer_types, bool keep_io)
      : graph_(graph), recipe_(recipe), names_(names), outer_(std::move(outer_types)), keep_io_(keep_io) {}
  Status run(std::vector<LayerDecision>& layers);

 private:
  void choose_nodes();
  std::string why_float(const graph::Node& node) const;
  void choose_values();
  void convert_node(graph::Node node, bool half);
  graph::ValueId as(graph::ValueId id, bool half);   // the value in f16 or f32, by a Cast made once
  graph::ValueId half_constant(graph::ValueId id);

  graph::Graph& graph_;
  const Recipe& recipe_;
  passes::UniqueNames& names_;
  const std::map<std::string, DType> outer_;
  const bool keep_io_;
  std::vector<bool> node_half_;
  std::vector<std::string> reasons_;
  std::vector<bool> value_half_;
  std::map<std::pair<graph::ValueId, bool>, graph::ValueId> casts_;
  std::map<graph::ValueId, graph::ValueId> halves_;
  std::vector<graph::Node> out_;
};

Tensor to_half(const Tensor& tensor, DType half);
// Largest finite magnitude of f16.
inline constexpr float kLargestHalf = 65504.0f;

}  // namespace narrow::quantizers::float16
