#include "passes/qoperator_to_qdq.h"

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "passes/integer_operators.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

const IntegerOperator* row_of(const Node& node) {
  for (const IntegerOperator& row : kIntegerOperators) {
    if (node.op_type == row.integer_type && node.domain == row.domain) return &row;
  }
  return nullptr;
}

std::string float_name(const std::string& codes) {
  for (const std::string_view suffix : {"_quantized", "_QuantizeLinear_Output", "_q"}) {
    if (codes.size() > suffix.size() && codes.ends_with(suffix)) return codes.substr(0, codes.size() - suffix.size());
  }
  return codes + "_float";
}

class Rewriter {
 public:
  explicit Rewriter(Graph& graph) : graph_(graph) {}

  Result<int> run() {
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    int rewritten = 0;
    for (Node& node : nodes) {
      const IntegerOperator* row = row_of(node);
      if (row == nullptr || !rewrite(node, *row)) {
        graph_.nodes.push_back(std::move(node));
        continue;
      }
      ++rewritten;
    }
    if (rewritten > 0) {
      NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph_));
      NARROW_RETURN_IF_ERROR(graph::verify(graph_, "the graph in QDQ form"));
    }
    return rewritten;
  }

 private:
  ValueId dequantize(ValueId codes, ValueId scale, ValueId zero_point, std::int64_t axis) {
    const auto key = std::make_tuple(codes, scale, zero_point, axis);
    const auto known = made_.find(key);
    if (known != made_.end()) return known->second;
    const std::string base = graph_.value(codes).name + "_dequantized";
    const ValueId value = graph_.add_value(base, graph::Type::tensor(DType::kF32));
    Node node{graph_.unique_node_name(base), "DequantizeLinear", "", {codes, scale}, {value}, {}, "", {}};
    if (zero_point != kNoValue) node.inputs.push_back(zero_point);
    node.set("axis", axis);
    graph_.nodes.push_back(std::move(node));
    return made_[key] = value;
  }

  // A bias has the scale of the products that it is added to; nothing when those are not constants.
  std::optional<ValueId> bias(ValueId codes, ValueId x_scale, ValueId w_scale, double alpha) {
    const Tensor* x = graph_.constant(x_scale);
    const Tensor* w = graph_.constant(w_scale);
    if (x == nullptr || w == nullptr || x->size() != 1) return std::nullopt;
    std::vector<float> scale;
    for (std::int64_t i = 0; i < w->size(); ++i) scale.push_back(static_cast<float>(x->at_as_double(0) * w->at_as_double(i) * alpha));
    const Tensor made = Tensor::from<float>(scale.size() == 1 ? Shape{} : Shape{static_cast<std::int64_t>(scale.size())}, std::span<const float>(scale));
    const ValueId id = graph_.add_constant(graph_.value(codes).name + "_scale", made);
    return dequantize(codes, id, kNoValue, 0);
  }

  bool rewrite(Node& node, const IntegerOperator& row) {
    std::vector<ValueId> inputs;
    ValueId scale = kNoValue, zero_point = kNoValue;   // of the output
    const auto part = [&](std::size_t at, std::int64_t axis) { return dequantize(node.input(at), node.input(at + 1), node.input(at + 2), axis); };
    const auto output = [&](std::size_t at) {
      scale = node.input(at);
      zero_point = node.input(at + 1);
    };
    switch (row.form) {
      case IntegerForm::kUnary:
        if (node.get_int("channels_last", 0) != 0) return false;
        inputs = {part(0, 0)};
        output(3);
        break;
      case IntegerForm::kBinary:
        inputs = {part(0, 0), part(3, 0)};
        output(6);
        break;
      case IntegerForm::kMatMul:
        inputs = {part(0, 0), part(3, -1)};
        output(6);
        break;
      case IntegerForm::kConv:
        inputs = {part(0, 0), part(3, 0)};
        output(6);
        if (node.input(8) != kNoValue) {
          const auto made = bias(node.input(8), node.input(1), node.input(4), 1);
          if (!made) return false;
          inputs.push_back(*made);
        }
        break;
      case IntegerForm::kGemm:
        inputs = {part(0, 0), part(3, node.get_int("transB", 0) != 0 ? 0 : 1)};
        output(7);
        if (node.input(6) != kNoValue) {
          const auto made = bias(node.input(6), node.input(1), node.input(4), node.get_float("alpha", 1.0f));
          if (!made) return false;
          inputs.push_back(*made);
        }
        break;
      case IntegerForm::kVariadic:
        output(0);
        for (std::size_t at = 2; at + 2 < node.inputs.size(); at += 3) inputs.push_back(part(at, 0));
        break;
    }
    node.op_type = row.op_type;
    node.domain.clear();
    node.erase("opset");
    node.erase("channels_last");
    node.inputs = std::move(inputs);
    if (scale != kNoValue) {
      const ValueId codes = node.outputs[0];
      const std::string name = float_name(graph_.value(codes).name);
      const ValueId value = graph_.add_value(name, graph::Type::tensor(DType::kF32));
      Node quantize{graph_.unique_node_name(name + "_QuantizeLinear"), "QuantizeLinear", "", {value, scale}, {codes}, {}, "", {}};
      if (zero_point != kNoValue) quantize.inputs.push_back(zero_point);
      node.outputs[0] = value;
      graph_.nodes.push_back(std::move(node));
      graph_.nodes.push_back(std::move(quantize));
    } else {
      graph_.nodes.push_back(std::move(node));
    }
    return true;
  }

  Graph& graph_;
  std::map<std::tuple<ValueId, ValueId, ValueId, std::int64_t>, ValueId> made_;
};

}  // namespace

Result<int> qoperator_to_qdq(Graph& graph) { return Rewriter(graph).run(); }

}  // namespace narrow::passes
