#include "passes/qdq_to_qoperator.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "passes/edit.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

constexpr std::string_view kMicrosoft = "com.microsoft";

// Codes with their parameters: what a DequantizeLinear reads or a QuantizeLinear writes.
struct Coded {
  ValueId codes, scale, zero_point;
};

enum class Shape { kConv, kMatMul, kGemm, kUnary, kBinary, kVariadic, kTransport };

struct Row {
  std::string_view from;
  Shape shape;
  std::string_view to;       // empty: the operator itself
  std::string_view domain;
};

constexpr Row kRows[] = {
    {"Conv", Shape::kConv, "QLinearConv", ""},
    {"MatMul", Shape::kMatMul, "QLinearMatMul", ""},
    {"Gemm", Shape::kGemm, "QGemm", kMicrosoft},
    {"Add", Shape::kBinary, "QLinearAdd", kMicrosoft},
    {"Mul", Shape::kBinary, "QLinearMul", kMicrosoft},
    {"AveragePool", Shape::kUnary, "QLinearAveragePool", kMicrosoft},
    {"GlobalAveragePool", Shape::kUnary, "QLinearGlobalAveragePool", kMicrosoft},
    {"Sigmoid", Shape::kUnary, "QLinearSigmoid", kMicrosoft},
    {"LeakyRelu", Shape::kUnary, "QLinearLeakyRelu", kMicrosoft},
    {"Softmax", Shape::kUnary, "QLinearSoftmax", kMicrosoft},
    {"Concat", Shape::kVariadic, "QLinearConcat", kMicrosoft},
    {"MaxPool", Shape::kTransport, "", ""},
    {"Reshape", Shape::kTransport, "", ""},
    {"Transpose", Shape::kTransport, "", ""},
    {"Flatten", Shape::kTransport, "", ""},
    {"Squeeze", Shape::kTransport, "", ""},
    {"Unsqueeze", Shape::kTransport, "", ""},
    {"Slice", Shape::kTransport, "", ""},
    {"Gather", Shape::kTransport, "", ""},
    {"Expand", Shape::kTransport, "", ""},
    {"Tile", Shape::kTransport, "", ""},
    {"DepthToSpace", Shape::kTransport, "", ""},
    {"Resize", Shape::kTransport, "", ""},
    {"ReduceMax", Shape::kTransport, "", ""},
    {"ReduceMin", Shape::kTransport, "", ""},
    {"Pad", Shape::kTransport, "", ""},
};

class Rewriter {
 public:
  explicit Rewriter(Graph& graph) : graph_(graph), uses_(graph) {}

  bool rewrite(std::size_t n) {
    Node& node = graph_.nodes[n];
    const Row* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return node.is(r.from); });
    if (row == std::end(kRows) || node.outputs.size() != 1) return false;
    const std::optional<Coded> out = quantized_output(node.outputs[0]);
    const std::optional<Coded> x = dequantized(node.input(0));
    if (!x || (!out && row->shape != Shape::kGemm)) return false;
    std::vector<ValueId> inputs;
    const auto push = [&](const Coded& c) { inputs.insert(inputs.end(), {c.codes, c.scale, c.zero_point}); };
    const auto push_output = [&] { inputs.insert(inputs.end(), {out->scale, out->zero_point}); };
    switch (row->shape) {
      case Shape::kUnary:
        push(*x);
        push_output();
        break;
      case Shape::kBinary:
      case Shape::kMatMul: {
        const std::optional<Coded> y = dequantized(node.input(1));
        if (!y) return false;
        push(*x);
        push(*y);
        push_output();
        break;
      }
      case Shape::kConv:
      case Shape::kGemm: {
        const std::optional<Coded> w = dequantized(node.input(1));
        const std::optional<Coded> b = dequantized(node.input(2));
        if (!w || (node.input(2) != kNoValue && !b)) return false;
        push(*x);
        push(*w);
        if (row->shape == Shape::kConv) {
          push_output();
          if (b) inputs.push_back(b->codes);
        } else {
          inputs.push_back(b ? b->codes : kNoValue);
          if (out) push_output();
          while (inputs.back() == kNoValue) inputs.pop_back();
        }
        break;
      }
      case Shape::kVariadic: {
        push_output();
        for (ValueId id : node.inputs) {
          const std::optional<Coded> part = dequantized(id);
          if (!part) return false;
          push(*part);
        }
        break;
      }
      case Shape::kTransport:
        if (x->scale != out->scale || x->zero_point != out->zero_point) return false;
        inputs = node.inputs;
        inputs[0] = x->codes;
        if (row->from == "Pad" && node.get_string("mode", "constant") == "constant") {
          // Only 0 has a code in every range: the zero point.
          const Tensor* fill = graph_.constant(node.input(2));
          const bool zero = node.input(2) == kNoValue || (fill != nullptr && fill->size() == 1 && fill->at_as_double(0) == 0);
          if (!zero) return false;
          inputs.resize(std::max<std::size_t>(inputs.size(), 3), kNoValue);
          inputs[2] = x->zero_point;
        }
        break;
    }
    if (row->from == "Softmax") node.set("opset", std::int64_t{13});
    if (row->from == "Softmax" && !node.has("axis")) node.set("axis", std::int64_t{-1});
    if (row->shape == Shape::kGemm) node.erase("beta");
    if (out) {
      const int quantize = uses_.readers[node.outputs[0]][0].node;
      node.outputs[0] = out->codes;
      graph_.nodes[quantize].inputs.clear();
      graph_.nodes[quantize].outputs.clear();
    }
    node.inputs = std::move(inputs);
    if (!row->to.empty()) node.op_type = row->to;
    if (!row->domain.empty()) node.domain = row->domain;
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
