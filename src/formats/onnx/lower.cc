#include "formats/onnx/lower.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "formats/onnx/lower_rules.h"
#include "formats/onnx/operator_set.h"
#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {
namespace {

using graph::Graph;
using graph::GraphPtr;
using graph::Node;

template <typename Visit>
void for_each_subgraph(const Node& node, const Visit& visit) {
  for (const graph::Attribute& attribute : node.attributes) {
    if (const auto* one = std::get_if<GraphPtr>(&attribute.value)) visit(**one);
    if (const auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
      for (const GraphPtr& sub : *many) visit(*sub);
    }
  }
}

// Since when ai.onnx has the element type.
std::int64_t first_opset(DType dtype) {
  switch (dtype) {
    case DType::kBF16: return 13;
    case DType::kF8E4M3FN: case DType::kF8E4M3FNUZ: case DType::kF8E5M2: case DType::kF8E5M2FNUZ: return 19;
    case DType::kS4: case DType::kU4: return 21;
    case DType::kF4E2M1: return 23;
    case DType::kF8E8M0: return 24;
    case DType::kS2: case DType::kU2: return 25;
    default: return 1;
  }
}

// Counting axes from the end became legal everywhere at 11.
bool has_negative_axis(const Node& node, const Graph& graph) {
  if (node.get_int("axis", 0) < 0 && node.op_type != "OneHot") return true;
  constexpr std::array<std::string_view, 2> kAxesInput = {"Squeeze", "Unsqueeze"};
  const bool takes_axes = node.op_type.starts_with("Reduce") || std::find(kAxesInput.begin(), kAxesInput.end(), node.op_type) != kAxesInput.end();
  const Tensor* axes = takes_axes ? graph.constant(node.input(1)) : nullptr;
  if (axes == nullptr || !is_integer(axes->dtype())) return false;
  const std::vector<std::int64_t> values = axes->to_int64();
  return std::any_of(values.begin(), values.end(), [](std::int64_t a) { return a < 0; });
}

bool is_softmax(const Node& node) { return node.op_type == "Softmax" || node.op_type == "LogSoftmax" || node.op_type == "Hardmax"; }

std::int64_t required_opset(const Node& node, const Graph& graph) {
  if (!node.domain.empty()) return 1;
  std::int64_t opset = onnx::first_opset(node.op_type);
  if (node.op_type == "Resize") opset = 7;           // as Upsample
  if (node.op_type == "ScatterElements") opset = 9;  // as Scatter
  for (const LowerRule& rule : lower_rules()) {
    if (rule.op_type == node.op_type && rule.possible != nullptr && !rule.possible(node, graph)) opset = std::max<std::int64_t>(opset, rule.below);
  }
  // Softmax's rules make its axis positive where they can.
  if (opset < 11 && !is_softmax(node) && node.op_type != "QuantizeLinear" && node.op_type != "DequantizeLinear" && has_negative_axis(node, graph)) opset = 11;
  return opset;
}

}  // namespace

std::int64_t required_opset(const Graph& graph, std::int64_t at_least) {
  std::int64_t opset = at_least;
  for (const graph::Value& value : graph.values) opset = std::max(opset, first_opset(value.type.dtype));
  for (const Node& node : graph.nodes) {
    opset = std::max(opset, required_opset(node, graph));
    for_each_subgraph(node, [&](const Graph& sub) { opset = required_opset(sub, opset); });
  }
  return opset;
}

void lower(Graph& graph, std::int64_t opset) {
  const graph::Uses before(graph);
  for (Node& node : graph.nodes) {
    LowerContext context{graph, opset};
    if (node.domain.empty()) {
      for (const LowerRule& rule : lower_rules()) {
        if (rule.op_type == node.op_type && opset < rule.below && rule.apply != nullptr) rule.apply(node, context);
      }
    }
    for (graph::Attribute& attribute : node.attributes) {
      if (auto* one = std::get_if<GraphPtr>(&attribute.value)) lower(**one, opset);
      if (auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
        for (GraphPtr& sub : *many) lower(*sub, opset);
      }
    }
  }
  // Constants that became attributes are written there only.
  const graph::Uses after(graph);
  for (std::size_t v = 0; v < before.readers.size(); ++v) {
    if (before.readers[v].empty() || !after.readers[v].empty() || after.is_output[v]) continue;
    const bool is_input = std::find(graph.inputs.begin(), graph.inputs.end(), static_cast<graph::ValueId>(v)) != graph.inputs.end();
    if (!is_input) graph.values[v].constant.reset();
  }
}

std::int64_t ir_version_of(std::int64_t opset) {
  struct Step { std::int64_t opset, ir; };
  constexpr std::array kSteps = {Step{28, 14}, Step{25, 13}, Step{24, 12}, Step{23, 11}, Step{21, 10},
                                 Step{19, 9},  Step{15, 8},  Step{12, 7},  Step{11, 6},  Step{10, 5}, Step{9, 4}};
  for (const Step& step : kSteps) {
    if (opset >= step.opset) return step.ir;
  }
  return kOldestIr;
}

}  // namespace narrow::formats::onnx
