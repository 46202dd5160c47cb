#include "passes/qdq_to_qoperator.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "passes/edit.h"
#include "passes/integer_operators.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

// Codes with their parameters: what a DequantizeLinear reads or a QuantizeLinear writes.
struct Coded {
  ValueId codes, scale, zero_point;
};

// Operators that move codes themselves when what they read and write shares its parameters.
constexpr std::string_view kTransport[] = {"MaxPool", "Reshape",      "Transpose", "Flatten",   "Squeeze",   "Unsqueeze", "Slice", "Gather", "Expand",
                                           "Tile",    "DepthToSpace", "Resize",    "ReduceMax", "ReduceMin", "Pad"};

class Rewriter {
 public:
  explicit Rewriter(Graph& graph) : graph_(graph), uses_(graph) {}

  bool rewrite(std::size_t n) {
    Node& node = graph_.nodes[n];
    const IntegerOperator* row = std::find_if(std::begin(kIntegerOperators), std::end(kIntegerOperators), [&](const IntegerOperator& r) { return node.is(r.op_type); });
    if (row == std::end(kIntegerOperators)) row = nullptr;
    const bool transport = std::any_of(std::begin(kTransport), std::end(kTransport), [&](std::string_view type) { return node.is(type); });
    if ((row == nullptr && !transport) || node.outputs.size() != 1) return false;
    const std::optional<Coded> out = quantized_output(node.outputs[0]);
    const std::optional<Coded> x = dequantized(node.input(0));
    const bool gemm = row != nullptr && row->form == IntegerForm::kGemm;
    if (!x || (!out && !gemm)) return false;
    std::vector<ValueId> inputs;
    const auto push = [&](const Coded& c) { inputs.insert(inputs.end(), {c.codes, c.scale, c.zero_point}); };
    const auto push_output = [&] { inputs.insert(inputs.end(), {out->scale, out->zero_point}); };
    if (transport) {
      if (x->scale != out->scale || x->zero_point != out->zero_point) return false;
      inputs = node.inputs;
      inputs[0] = x->codes;
      if (node.is("Pad") && node.get_string("mode", "constant") == "constant") {
        // Only 0 has a code in every range: the zero point.
        const Tensor* fill = graph_.constant(node.input(2));
        const bool zero = node.input(2) == kNoValue || (fill != nullptr && fill->size() == 1 && fill->at_as_double(0) == 0);
        if (!zero) return false;
        inputs.resize(std::max<std::size_t>(inputs.size(), 3), kNoValue);
        inputs[2] = x->zero_point;
      }
    } else switch (row->form) {
      case IntegerForm::kUnary:
        push(*x);
        push_output();
        break;
      case IntegerForm::kBinary:
      case IntegerForm::kMatMul: {
        const std::optional<Coded> y = dequantized(node.input(1));
        if (!y) return false;
        push(*x);
        push(*y);
        push_output();
        break;
      }
      case IntegerForm::kConv:
      case IntegerForm::kGemm: {
        const std::optional<Coded> w = dequantized(node.input(1));
        const std::optional<Coded> b = dequantized(node.input(2));
        if (!w || (node.input(2) != kNoValue && !b)) return false;
        push(*x);
        push(*w);
        if (row->form == IntegerForm::kConv) {
          push_output();
          if (b) inputs.push_back(b->codes);
        } else {
          inputs.push_back(b ? b->codes : kNoValue);
          if (out) push_output();
          while (inputs.back() == kNoValue) inputs.pop_back();
        }
        break;
      }
      case IntegerForm::kVariadic: {
        push_output();
        for (ValueId id : node.inputs) {
          const std::optional<Coded> part = dequantized(id);
          if (!part) return false;
          push(*part);
        }
        break;
      }
    }
    if (node.is("Softmax")) node.set("opset", std::int64_t{13});
    if (node.is("Softmax") && !node.has("axis")) node.set("axis", std::int64_t{-1});
    if (gemm) node.erase("beta");
    if (out) {
      const int quantize = uses_.readers[node.outputs[0]][0].node;
      node.outputs[0] = out->codes;
      graph_.nodes[quantize].inputs.clear();
      graph_.nodes[quantize].outputs.clear();
    }
    node.inputs = std::move(inputs);
    if (row != nullptr) {
      node.op_type = row->integer_type;
      node.domain = row->domain;
    }
    return true;
  }

 private:
  std::optional<Coded> dequantized(ValueId id) const {
    if (id == kNoValue || uses_.producer[id] < 0) return std::nullopt;
    const Node& node = graph_.nodes[uses_.producer[id]];
    if (!node.is("DequantizeLinear") || node.outputs.empty()) return std::nullopt;
    return Coded{node.input(0), node.input(1), node.input(2)};
  }
  std::optional<Coded> quantized_output(ValueId id) const {
    if (uses_.is_output[id] || uses_.readers[id].size() != 1 || uses_.readers[id][0].input != 0) return std::nullopt;
    const Node& node = graph_.nodes[uses_.readers[id][0].node];
    if (!node.is("QuantizeLinear") || node.input(2) == kNoValue) return std::nullopt;
    return Coded{node.output(0), node.input(1), node.input(2)};
  }

  Graph& graph_;
  const Uses uses_;  // of the QDQ graph: DequantizeLinear nodes stay until the end
};

Status tidy(Graph& graph, const char* what) {
  remove_emptied(graph);
  NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph));
  graph::remove_dead(graph);
  return graph::verify(graph, what);
}

}  // namespace

Result<int> move_codes(Graph& graph, std::span<const std::string_view> operators) {
  Rewriter rewriter(graph);
  int moved = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const bool named = std::find(operators.begin(), operators.end(), graph.nodes[n].op_type) != operators.end();
    if (named && rewriter.rewrite(n)) ++moved;
  }
  if (moved > 0) NARROW_RETURN_IF_ERROR(tidy(graph, "the graph with codes moved"));
  return moved;
}

Status qdq_to_qoperator(graph::Model& model) {
  Graph& graph = model.graph;
  Rewriter rewriter(graph);
  bool contributed = false;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (rewriter.rewrite(n) && graph.nodes[n].domain == kMicrosoft) contributed = true;
  }
  if (contributed) model.opsets[std::string(kMicrosoft)] = 1;
  return tidy(graph, "the graph in qoperator form");
}

}  // namespace narrow::passes
