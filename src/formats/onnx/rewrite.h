// What a rule that rewrites one node may do to the graph around it.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats::onnx {

class RewriteContext {
 public:
  // `uses` is of the graph before any node was rewritten.
  RewriteContext(graph::Graph& graph, std::int64_t opset, const graph::Uses& uses, const std::vector<graph::Type>* types)
      : graph_(graph), opset_(opset), uses_(uses), types_(types) {}

  graph::Graph& graph() { return graph_; }
  std::int64_t opset() const { return opset_; }  // of the model in its file

  // Declared, else inferred where inference ran, else unknown.
  const graph::Type& type_of(graph::ValueId id) const;

  bool is_used(graph::ValueId id) const;

  graph::ValueId add_ints(const graph::Node& node, const char* suffix, const std::vector<std::int64_t>& values);
  // A scalar of that value's element type, f32 when it is unknown.
  graph::ValueId add_scalar_like(const graph::Node& node, const char* suffix, graph::ValueId like, double value);

  // A node before or after the one being rewritten; returns its (new) output.
  graph::ValueId emit_before(graph::Node node);
  void emit_after(graph::Node node) { after_.push_back(std::move(node)); }
  // The node's output `i` is made by another node now: returns the fresh value that the node should write instead.
  graph::ValueId redirect_output(graph::Node& node, std::size_t i);
  void drop_node() { dropped_ = true; }

  std::vector<graph::Node>& before() { return before_; }
  std::vector<graph::Node>& after() { return after_; }
  bool dropped() const { return dropped_; }

 private:
  graph::Graph& graph_;
  std::int64_t opset_;
  const graph::Uses& uses_;
  const std::vector<graph::Type>* types_;
  std::vector<graph::Node> before_, after_;
  bool dropped_ = false;
};

// A new node named after `origin`.
graph::Node make_node(const graph::Node& origin, const char* suffix, const char* op_type, std::vector<graph::ValueId> inputs,
                      std::vector<graph::ValueId> outputs);

// Sets input `i`, padding with omitted inputs, and drops trailing omitted ones.
void set_input(graph::Node& node, std::size_t i, graph::ValueId id);

// A scalar tensor. Errors: unsupported, for a type that holds no real numbers.
Result<Tensor> make_scalar(DType dtype, double value);

}  // namespace narrow::formats::onnx
