#include "quantizers/preparation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "operators/infer.h"
#include "operators/operator.h"
#include "passes/edit.h"
#include "passes/passes.h"

namespace narrow::quantizers {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::ValueId;

bool is_quantized_operator(const Node& node) {
  static constexpr std::string_view kNames[] = {
      "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "MatMulNBits",
      "MatMulBnb4", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QAttention",
      "GatherBlockQuantized", "FakeQuantize"};
  return std::find(std::begin(kNames), std::end(kNames), node.op_type) != std::end(kNames) ||
         node.op_type.starts_with("QLinear");
}

Status refuse_quantized(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (is_quantized_operator(node)) {
      return invalid_argument(fmt::format("the model is quantized already: node '{}' is {}", base::escape_controls(node.name), node.op_type))
          .hint("quantize the float model it was made from; quantizing twice only adds error");
    }
    Status status;
    passes::for_each_subgraph(const_cast<Node&>(node), [&](Graph& sub) {
      if (status.ok()) status = refuse_quantized(sub);
    });
    NARROW_RETURN_IF_ERROR(std::move(status));
  }
  return {};
}

Status check_finite(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
    const bool layer = (op != nullptr && op->quant.role == operators::QuantRole::kCompute) ||
                       node.op_type == "BatchNormalization" || node.op_type == "LSTM" || node.op_type == "GRU";
    for (ValueId id : node.inputs) {
      const Tensor* tensor = layer ? graph.constant(id) : nullptr;
      if (tensor == nullptr || tensor->dtype() != DType::kF32) continue;
      const std::span<const float> data = tensor->data<float>();
      const auto bad = std::count_if(data.begin(), data.end(), [](float x) { return !std::isfinite(x); });
      if (bad > 0) {
        const auto first = std::find_if(data.begin(), data.end(), [](float x) { return !std::isfinite(x); }) - data.begin();
        return invalid_argument(fmt::format("weight '{}' of node '{}' ({}) holds {} value(s) that are NaN or infinite, the first at element {} of {}",
                                            base::escape_controls(graph.value(id).name), base::escape_controls(node.name),
                                            node.op_type, bad, first, to_string(tensor->shape())))
            .hint("no quantization can mend this: export the model again from a healthy checkpoint");
      }
    }
    Status status;
    passes::for_each_subgraph(const_cast<Node&>(node), [&](Graph& sub) {
      if (status.ok()) status = check_finite(sub);
    });
    NARROW_RETURN_IF_ERROR(std::move(status));
  }
  return {};
}

// Old files list every initializer among the inputs, which would let a caller replace weights.
int fix_overridable_inputs(Graph& graph) {
  return static_cast<int>(std::erase_if(graph.inputs, [&](ValueId id) { return graph.value(id).constant.has_value(); }));
}

}  // namespace

Result<Prepared> prepare_model(const graph::Model& model) {
  NARROW_RETURN_IF_ERROR(refuse_quantized(model.graph));
  NARROW_RETURN_IF_ERROR(check_finite(model.graph));
  Prepared prepared{model, {}};
  Graph& graph = prepared.model.graph;
  graph = model.graph.clone();
  fix_overridable_inputs(graph);
  NARROW_TRY(const operators::Inference first, operators::infer_types(graph));
  (void)first;
  NARROW_TRY(const int split, passes::unfuse(graph, passes::UnfuseScope::kAll));
  NARROW_TRY(const int folded, passes::fold_constants(graph));
  NARROW_TRY(const int removed, passes::remove_no_ops(graph));
  NARROW_TRY(const int merged, passes::fold_batch_norm(graph));
  (void)split, (void)folded, (void)removed, (void)merged;
  graph::remove_dead(graph);
  NARROW_TRY(const operators::Inference last, operators::infer_types(graph));
  for (const operators::Inference::Gap& gap : last.gaps) {
    const Node& node = graph.nodes[static_cast<std::size_t>(gap.node)];
    prepared.warnings.push_back(fmt::format("node '{}' ({}) stays float: {}", base::escape_controls(node.name), node.op_type, gap.reason));
  }
  NARROW_RETURN_IF_ERROR(graph::verify(graph, "the prepared graph"));
  return prepared;
}

std::uint64_t weight_bytes(const Graph& graph, const Node& node) {
  std::uint64_t bytes = 0;
  for (ValueId id : node.inputs) {
    const Tensor* tensor = graph.constant(id);
    if (tensor != nullptr && is_float(tensor->dtype())) bytes += tensor->bytes();
  }
  return bytes;
}

std::vector<LayerDecision> decisions_for(const Graph& original, std::vector<LayerDecision> decided) {
  std::unordered_map<std::string, std::size_t> by_name;
  for (std::size_t i = 0; i < decided.size(); ++i) by_name.emplace(decided[i].node, i);
  std::vector<LayerDecision> layers;
  for (const Node& node : original.nodes) {
    const auto it = by_name.find(node.name);
    LayerDecision layer;
    if (it != by_name.end()) {
      layer = decided[it->second];
      decided[it->second].node.clear();
      layer.weight_bytes_before = weight_bytes(original, node);
    } else {
      layer = {node.name, node.op_type, Decision::kFolded, "", weight_bytes(original, node), 0};
      layer.reason = node.op_type == "BatchNormalization" || node.op_type == "Mul" || node.op_type == "Add"
                         ? "folded into the layer before it"
                         : "depends on constants only, or changes nothing";
    }
    layers.push_back(std::move(layer));
  }
  // Nodes inside the bodies of If, Loop and Scan.
  for (LayerDecision& layer : decided) {
    if (!layer.node.empty()) layers.push_back(std::move(layer));
  }
  return layers;
}

std::vector<std::pair<std::string, std::string>> same_named_values(const Graph& original, const Graph& quantized) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const Node& node : original.nodes) {
    for (ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      const graph::Value& value = original.value(id);
      const ValueId other = quantized.find_value(value.name);
      if (other == kNoValue || quantized.value(other).constant) continue;
      if (value.type.dtype != DType::kF32 && value.type.dtype != DType::kUndefined) continue;
      pairs.emplace_back(value.name, value.name);
    }
  }
  return pairs;
}

void record(graph::Model& model, const Recipe& recipe) {
  model.metadata["narrow.recipe"] = to_toml(recipe);
  model.metadata["narrow.version"] = "0.1.0";
}

}  // namespace narrow::quantizers
