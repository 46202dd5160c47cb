#include "evaluation/work.h"

#include <algorithm>
#include <string_view>

#include "evaluation/subgraphs.h"

namespace narrow::evaluation {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

double elements(const std::vector<graph::Dim>& dims, std::size_t begin, std::size_t end) {
  double product = 1;
  for (std::size_t i = begin; i < end; ++i) {
    if (dims[i].known()) product *= static_cast<double>(std::max<std::int64_t>(dims[i].size, 0));
  }
  return product;
}

double elements(const graph::Type& type) { return elements(type.dims, 0, type.dims.size()); }

enum class Product { kConvolution, kTransposed, kGemm, kMatrix, kRecurrent };

// Operators that multiply, and where their right sides are.
struct Multiplier {
  std::string_view op_type, domain;
  Product product;
  std::size_t right;
  bool integer;
};

constexpr std::string_view kMicrosoft = "com.microsoft";
constexpr Multiplier kMultipliers[] = {
    {"Conv", "", Product::kConvolution, 1, false},
    {"ConvInteger", "", Product::kConvolution, 1, true},
    {"QLinearConv", "", Product::kConvolution, 3, true},
    {"ConvTranspose", "", Product::kTransposed, 1, false},
    {"Gemm", "", Product::kGemm, 1, false},
    {"QGemm", kMicrosoft, Product::kGemm, 3, true},
    {"MatMul", "", Product::kMatrix, 1, false},
    {"MatMulInteger", "", Product::kMatrix, 1, true},
    {"QLinearMatMul", "", Product::kMatrix, 3, true},
    {"MatMulIntegerToFloat", kMicrosoft, Product::kMatrix, 1, true},
    {"DynamicQuantizeMatMul", kMicrosoft, Product::kMatrix, 1, true},
    {"LSTM", "", Product::kRecurrent, 1, false},
    {"GRU", "", Product::kRecurrent, 1, false},
    {"RNN", "", Product::kRecurrent, 1, false},
    {"DynamicQuantizeLSTM", kMicrosoft, Product::kRecurrent, 1, true},
};

double multiply_adds(const Graph& graph, const Node& node, const Multiplier& multiplier) {
  const ValueId left = node.input(0), right = node.input(multiplier.right), output = node.output(0);
  if (left == graph::kNoValue || right == graph::kNoValue) return 0;
  const graph::Type &x = graph.value(left).type, &w = graph.value(right).type;
  if (!x.ranked || !w.ranked || w.dims.size() < 2) return 0;
  const std::size_t rank = w.dims.size();
  if (multiplier.product == Product::kRecurrent) {
    const ValueId state = node.input(2);
    if (x.dims.size() != 3 || state == graph::kNoValue || !graph.value(state).type.ranked) return 0;
    return elements(x.dims, 0, 2) * (elements(w) + elements(graph.value(state).type));
  }
  if (output == graph::kNoValue || !graph.value(output).type.ranked) return 0;
  const graph::Type& y = graph.value(output).type;
  switch (multiplier.product) {
    case Product::kConvolution: return elements(y) * elements(w.dims, 1, rank);
    case Product::kTransposed: return elements(x) * elements(w.dims, 1, rank);
    case Product::kGemm: {
      const std::size_t k = node.get_int("transB", 0) != 0 ? 1 : 0;
      return elements(y) * elements(w.dims, k, k + 1);
    }
    default: return elements(y) * elements(w.dims, rank - 2, rank - 1);
  }
}

void count_products(const Graph& graph, const graph::Uses& uses, Work& work) {
  const auto dequantized = [&](ValueId id) {
    const int producer = id == graph::kNoValue ? -1 : uses.producer[static_cast<std::size_t>(id)];
    if (producer < 0) return false;
    const Node& node = graph.nodes[static_cast<std::size_t>(producer)];
    return node.op_type == "DequantizeLinear" && bits_of(graph.value(node.input(0)).type.dtype) == 8;
  };
  for (const Node& node : graph.nodes) {
    if (node.op_type == "MatMulNBits" && node.domain == kMicrosoft && node.output(0) != graph::kNoValue) {
      work.f32 += elements(graph.value(node.outputs[0]).type) * static_cast<double>(node.get_int("K", 0));  // weights are widened
      continue;
    }
    const auto found = std::find_if(std::begin(kMultipliers), std::end(kMultipliers), [&](const Multiplier& m) { return node.op_type == m.op_type && node.domain == m.domain; });
    if (found == std::end(kMultipliers)) continue;
    const double products = multiply_adds(graph, node, *found);
    const DType dtype = node.input(0) == graph::kNoValue ? DType::kUndefined : graph.value(node.inputs[0]).type.dtype;
    if (found->integer || (dequantized(node.input(0)) && dequantized(node.input(found->right)))) work.int8 += products;
    else if (dtype == DType::kF16 || dtype == DType::kBF16) work.f16 += products;
    else work.f32 += products;
  }
}

void count_bytes(const Graph& graph, const graph::Uses& uses, Work& work) {
  const auto is = [&](int node, std::string_view op_type) { return graph.nodes[static_cast<std::size_t>(node)].op_type == op_type; };
  for (std::size_t id = 0; id < graph.values.size(); ++id) {
    const graph::Value& value = graph.values[id];
    const auto& readers = uses.readers[id];
    if (value.constant) {
      if (!readers.empty() && value.constant->dtype() != DType::kString) work.weight_bytes += static_cast<double>(value.constant->bytes());
      continue;
    }
    const int producer = uses.producer[id];
    // What is between an operator and its QuantizeLinear or DequantizeLinear never leaves the registers.
    if (producer >= 0 && is(producer, "DequantizeLinear") && !uses.is_output[id]) continue;
    if (!uses.is_output[id] && producer >= 0 && readers.size() == 1 && is(readers[0].node, "QuantizeLinear")) continue;
    double reads = 0;
    for (const graph::Uses::Use& use : readers) {
      const Node& reader = graph.nodes[static_cast<std::size_t>(use.node)];
      reads += reader.op_type == "DequantizeLinear" && reader.output(0) != graph::kNoValue
                   ? static_cast<double>(uses.readers[static_cast<std::size_t>(reader.outputs[0])].size())
                   : 1;
    }
    if (!value.type.ranked || value.type.kind != graph::TypeKind::kTensor) continue;
    work.activation_bytes += elements(value.type) * bits_of(value.type.dtype) / 8.0 * (reads + (producer >= 0 ? 1 : 0));
  }
}

}  // namespace

Work count_work(const Graph& whole) {
  Work work;
  for_each_graph(whole, [&](const Graph& graph) {
    const graph::Uses uses(graph);
    count_products(graph, uses, work);
    count_bytes(graph, uses, work);
  });
  return work;
}

}  // namespace narrow::evaluation
