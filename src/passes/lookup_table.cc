#include "passes/lookup_table.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "operators/infer.h"

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Uses;
using graph::ValueId;

constexpr std::string_view kElementwise[] = {
    "Relu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Gelu",
    "ThresholdedRelu", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round", "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"};
constexpr std::size_t kLargestFunction = 16;  // nodes

bool is(const Node& node, std::string_view type) { return node.op_type == type && (node.domain.empty() || node.domain == "com.microsoft"); }

class Tracer {
 public:
  Tracer(const Graph& graph, const Uses& uses) : graph_(graph), uses_(uses) {}

  // Follows `id` back to the codes; collects the nodes on the way, producers first.
  bool follow(ValueId id) {
    if (const Tensor* constant = graph_.constant(id)) return constant->size() == 1;
    const int producer = id == kNoValue ? -1 : uses_.producer[id];
    if (producer < 0) return false;
    if (std::find(nodes.begin(), nodes.end(), producer) != nodes.end()) return true;
    const Node& node = graph_.nodes[static_cast<std::size_t>(producer)];
    if (is(node, "DequantizeLinear")) {
      const ValueId codes = node.input(0);
      if (graph_.constant(codes) != nullptr || (source != kNoValue && source != codes)) return false;
      const Tensor* scale = graph_.constant(node.input(1));
      const Tensor* zero = graph_.constant(node.input(2));
      if (scale == nullptr || scale->size() != 1 || (node.input(2) != kNoValue && zero == nullptr)) return false;
      dtype = zero != nullptr ? zero->dtype() : graph_.value(codes).type.dtype;
      if (dtype != DType::kU8 && dtype != DType::kS8) return false;
      source = codes;
    } else {
      const bool known = node.domain.empty() && node.outputs.size() == 1 &&
                         std::find(std::begin(kElementwise), std::end(kElementwise), node.op_type) != std::end(kElementwise);
      if (!known || nodes.size() >= kLargestFunction) return false;
      for (ValueId input : node.inputs) {
        if (input != kNoValue && !follow(input)) return false;
      }
    }
    nodes.push_back(producer);
    return true;
  }

  std::vector<int> nodes;
  ValueId source = kNoValue;
  DType dtype = DType::kUndefined;

 private:
  const Graph& graph_;
  const Uses& uses_;
};

}  // namespace

std::optional<LookupTable> tabulate(const Graph& graph, const Uses& uses, const Node& quantize) {
  for (std::size_t i = 1; i < quantize.inputs.size(); ++i) {
    if (graph.constant(quantize.input(i)) == nullptr || graph.constant(quantize.input(i))->size() != 1) return std::nullopt;
  }
  Tracer tracer(graph, uses);
  if (!tracer.follow(quantize.input(0)) || tracer.source == kNoValue) return std::nullopt;
  Result<Tensor> all = Tensor::create(tracer.dtype, {256});
  if (!all.ok()) return std::nullopt;
  for (int c = 0; c < 256; ++c) static_cast<std::uint8_t*>(all->mutable_raw())[c] = static_cast<std::uint8_t>(c);
  std::map<ValueId, Tensor> values;
  values[tracer.source] = *all;
  const auto evaluate = [&](const Node& node) {
    std::vector<const Tensor*> inputs;
    for (ValueId id : node.inputs) {
      const Tensor* constant = graph.constant(id);
      inputs.push_back(constant != nullptr ? constant : id == kNoValue ? nullptr : &values[id]);
    }
    Result<std::vector<Tensor>> out = operators::evaluate_node(node, inputs);
    if (!out.ok() || out->empty() || (*out)[0].shape() != Shape{256}) return false;
    values[node.outputs[0]] = (*out)[0];
    return true;
  };
  for (int n : tracer.nodes) {
    if (!evaluate(graph.nodes[static_cast<std::size_t>(n)])) return std::nullopt;
  }
  if (!evaluate(quantize)) return std::nullopt;
  LookupTable table{tracer.source, values[quantize.outputs[0]]};
  if (table.codes.dtype() != DType::kU8 && table.codes.dtype() != DType::kS8) return std::nullopt;
  return table;
}

}  // namespace narrow::passes
