#include "evaluation/inventory.h"

#include <algorithm>
#include <map>
#include <string>

#include "evaluation/subgraphs.h"
#include "operators/operator.h"

namespace narrow::evaluation {
namespace {

using graph::Graph;
using graph::Node;

bool starts_with(std::string_view text, std::string_view head) { return text.substr(0, head.size()) == head; }

bool is_integer_operator(const Node& node) {
  return starts_with(node.op_type, "QLinear") || node.op_type == "QGemm" || node.op_type == "ConvInteger" ||
         node.op_type == "MatMulInteger" || starts_with(node.op_type, "DynamicQuantize") ||
         node.op_type == "MatMulNBits" || node.op_type == "MatMulIntegerToFloat";
}

const char* weight_class(DType dtype) {
  switch (dtype) {
    case DType::kF32: case DType::kF64: return "float weights";
    case DType::kF16: return "float16 weights";
    case DType::kBF16: return "bfloat16 weights";
    case DType::kS4: case DType::kU4: return "int4 weights";
    default: return is_float(dtype) ? "float8 weights" : "int8 weights";
  }
}

// What the constant is for, seen from one reader; null when this reader does not tell.
const char* class_at(const Tensor& tensor, const Node& node, int input) {
  const DType dtype = tensor.dtype();
  if (node.is("QuantizeLinear") || node.is("DequantizeLinear")) {
    if (input > 0) return "scales and zero points";
    return dtype == DType::kS32 ? "biases" : weight_class(dtype);
  }
  if (starts_with(node.op_type, "QLinear") || node.op_type == "QGemm") {
    if (dtype == DType::kS32) return "biases";
    return is_float(dtype) || tensor.rank() <= 1 ? "scales and zero points" : weight_class(dtype);
  }
  if (is_integer_operator(node) && !is_float(dtype)) {
    return tensor.rank() <= 1 ? "scales and zero points" : weight_class(dtype);
  }
  if (!is_float(dtype)) return nullptr;
  const operators::Operator* op = operators::find_operator(node.domain, node.op_type);
  if (op != nullptr && op->quant.bias_input == input) return "biases";
  return weight_class(dtype);
}

bool is_parameter(std::string_view name) { return name.ends_with("weights") || name == "biases"; }

struct Tally {
  std::uint64_t bytes = 0, tensors = 0, elements = 0;
};

std::map<std::string, Tally> tally(const Graph& whole) {
  std::map<std::string, Tally> classes;
  for_each_graph(whole, [&](const Graph& graph) {
    const graph::Uses uses(graph);
    for (std::size_t id = 0; id < graph.values.size(); ++id) {
      const auto& constant = graph.values[id].constant;
      if (!constant || constant->dtype() == DType::kString) continue;
      const char* name = nullptr;
      for (const graph::Uses::Use& use : uses.readers[id]) {
        if (use.input < 0) continue;
        name = class_at(*constant, graph.nodes[static_cast<std::size_t>(use.node)], use.input);
        if (name != nullptr) break;
      }
      if (name == nullptr) name = is_float(constant->dtype()) ? weight_class(constant->dtype()) : "other constants";
      Tally& entry = classes[name];
      entry.bytes += constant->bytes();
      entry.elements += static_cast<std::uint64_t>(constant->size());
      ++entry.tensors;
    }
  });
  return classes;
}

}  // namespace

std::vector<OperatorCount> count_operators(const Graph& whole) {
  std::map<std::pair<std::string, std::string>, std::uint64_t> counts;
  for_each_graph(whole, [&](const Graph& graph) {
    for (const Node& node : graph.nodes) ++counts[{node.domain, node.op_type}];
  });
  std::vector<OperatorCount> list;
  for (const auto& [key, count] : counts) {
    const operators::Operator* op = operators::find_operator(key.first, key.second);
    list.push_back({key.first, key.second, count, op != nullptr && (op->prepare != nullptr || op->run != nullptr)});
  }
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  return list;
}

std::vector<SizeClass> size_by_class(const Graph& graph) {
  std::vector<SizeClass> classes;
  for (const auto& [name, entry] : tally(graph)) classes.push_back({name, entry.bytes, entry.tensors});
  std::stable_sort(classes.begin(), classes.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return classes;
}

std::uint64_t count_parameters(const Graph& graph) {
  std::uint64_t total = 0;
  for (const auto& [name, entry] : tally(graph)) {
    if (is_parameter(name)) total += entry.elements;
  }
  return total;
}

bool is_quantized(const Graph& whole) {
  bool found = false;
  for_each_graph(whole, [&](const Graph& graph) {
    for (const Node& node : graph.nodes) {
      found = found || node.is("QuantizeLinear") || node.is("DequantizeLinear") || is_integer_operator(node);
    }
  });
  return found;
}

}  // namespace narrow::evaluation
