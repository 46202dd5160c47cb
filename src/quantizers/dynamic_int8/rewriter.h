// Rewrites one graph (and, by its caller, its subgraphs) into dynamic INT8.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "passes/edit.h"
#include "quantizers/quantizer.h"
#include "targets/target.h"

namespace narrow::quantizers::dynamic_int8 {

// A constant of this graph or, for a captured value, of the graphs around it; undefined when there is none.
using FindConstant = std::function<Tensor(const graph::Graph&, graph::ValueId)>;

class Rewriter {
 public:
  Rewriter(graph::Graph& graph, const targets::Target& target, const Recipe& recipe, passes::UniqueNames& names, FindConstant find)
      : graph_(graph), target_(target), recipe_(recipe), names_(names), find_(std::move(find)) {}

  // Replaces what can be replaced and appends a decision for every node.
  Status run(std::vector<LayerDecision>& layers);
  bool used_contributed_operators() const { return contributed_; }

 private:
  struct Stored {
    graph::ValueId codes, scale, zero_point;
  };

  LayerDecision visit(graph::Node node);
  // x·W in integers, W transposed when asked; W may have leading batch dimensions.
  void integer_product(const graph::Node& node, const Tensor& weight, bool transpose, graph::ValueId x, graph::ValueId bias);
  void integer_lstm(graph::Node node, const Tensor& w, const Tensor& r);
  // Input i becomes codes → DequantizeLinear.
  void stored_weight(graph::Node& node, std::size_t i, const Tensor& weight, int axis);
  bool recurrent(const graph::Node& node, LayerDecision& layer);

  graph::ValueId add_value(const std::string& name, graph::Type type);
  graph::ValueId add_constant(const std::string& name, Tensor tensor);
  // A copy of the name: adding values moves the ones that names are borrowed from.
  Stored store(std::string name, const Tensor& weight, int axis);
  graph::ValueId emit(std::string op, const std::string& name, std::vector<graph::ValueId> inputs, graph::Type type,
                      graph::ValueId output = graph::kNoValue);

  graph::Graph& graph_;
  const targets::Target& target_;
  const Recipe& recipe_;
  passes::UniqueNames& names_;
  FindConstant find_;
  std::vector<graph::Node> out_;
  std::map<graph::ValueId, std::vector<graph::ValueId>> quantized_inputs_;  // x → codes, scale, zero point
  // Shared weights are stored once.
  std::map<std::pair<graph::ValueId, int>, graph::ValueId> dequantized_;
  std::map<std::pair<graph::ValueId, int>, Stored> products_;
  bool contributed_ = false;
  std::uint64_t bytes_ = 0;
};

}  // namespace narrow::quantizers::dynamic_int8
