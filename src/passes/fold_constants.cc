#include "operators/infer.h"
#include "operators/operator.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

// A result may be this many times larger than what it is made of, or this large in any case.
constexpr std::uint64_t kMaxGrowth = 4;
constexpr std::uint64_t kAlwaysBytes = 1 << 16;

// Enclosing graphs, outermost first.
using Scope = std::vector<const Graph*>;

// The constant behind a value, looking through captures into the enclosing graphs; null when there is none.
const Tensor* constant_behind(const Scope& scope, const Graph& graph, ValueId id) {
  if (is_fixed_constant(graph, id)) return graph.constant(id);
  if (!graph.value(id).captured) return nullptr;
  for (auto outer = scope.rbegin(); outer != scope.rend(); ++outer) {
    const ValueId there = (*outer)->find_value(graph.value(id).name);
    if (there == kNoValue || (*outer)->value(there).captured) continue;
    return is_fixed_constant(**outer, there) ? (*outer)->constant(there) : nullptr;
  }
  return nullptr;
}

bool foldable(const Scope& scope, const Graph& graph, const Node& node) {
  const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
  if (op == nullptr || (op->flags & operators::kNotDeterministic) != 0) return false;
  // Dequantized weights are the point of a quantized file: folding them would bring the float copy back.
  if (node.op_type == "DequantizeLinear") return false;
  for (ValueId id : node.inputs) {
    if (id != kNoValue && constant_behind(scope, graph, id) == nullptr) return false;
  }
  bool subgraphs = false;
  for_each_subgraph(const_cast<Node&>(node), [&](Graph&) { subgraphs = true; });
  return !subgraphs;
}

bool small_enough(const std::vector<const Tensor*>& inputs, const std::vector<Tensor>& outputs) {
  std::uint64_t in = 0, out = 0;
  for (const Tensor* tensor : inputs) in += tensor != nullptr && tensor->dtype() != DType::kString ? tensor->bytes() : 0;
  for (const Tensor& tensor : outputs) {
    if (!tensor.defined()) continue;
    if (tensor.dtype() == DType::kString) return false;
    out += tensor.bytes();
  }
  return out <= kAlwaysBytes || out / kMaxGrowth <= in;
}

bool feeds_output(const Graph& graph, const Node& node) {
  for (ValueId out : node.outputs) {
    for (ValueId id : graph.outputs) {
      if (id == out) return true;
    }
  }
  return false;
}

// Shape arithmetic that inference resolved from types alone (Shape of a value of known shape, and what follows).
void take_known(Graph& graph, const operators::Inference& inference) {
  for (Node& node : graph.nodes) {
    if (feeds_output(graph, node)) continue;
    bool all = !node.outputs.empty();
    for (ValueId id : node.outputs) all = all && id != kNoValue && inference.known.contains(id);
    if (!all) continue;
    for (ValueId id : node.outputs) graph.value(id).constant = inference.known.at(id);
    node.inputs.clear();
    node.outputs.clear();
  }
  remove_emptied(graph);
}

int fold_level(Graph& graph, Scope& scope) {
  int folded = 0;
  for (Node& node : graph.nodes) {
    scope.push_back(&graph);
    for_each_subgraph(node, [&](Graph& sub) { folded += fold_level(sub, scope); });
    scope.pop_back();
    if (feeds_output(graph, node) || !foldable(scope, graph, node)) continue;
    std::vector<const Tensor*> inputs;
    for (ValueId id : node.inputs) inputs.push_back(id == kNoValue ? nullptr : constant_behind(scope, graph, id));
    Result<std::vector<Tensor>> outputs = operators::evaluate_node(node, inputs);
    if (!outputs.ok() || !small_enough(inputs, *outputs)) continue;  // stays a node; running the model reports errors
    bool complete = true;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      complete = complete && (node.outputs[i] == kNoValue || (i < outputs->size() && (*outputs)[i].defined()));
    }
    if (!complete) continue;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      graph::Value& value = graph.value(node.outputs[i]);
      value.type = graph::Type::of((*outputs)[i]);
      value.constant = std::move((*outputs)[i]);
    }
    node.inputs.clear();
    node.outputs.clear();
    ++folded;
  }
  remove_emptied(graph);
  graph::remove_dead(graph);
  return folded;
}

}  // namespace

Result<int> fold_constants(Graph& graph) {
  const std::size_t before = graph.nodes.size();
  NARROW_TRY(const operators::Inference inference, operators::infer_types(graph));
  take_known(graph, inference);
  Scope scope;
  fold_level(graph, scope);
  return static_cast<int>(before - graph.nodes.size());
}

}  // namespace narrow::passes
