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

namespace {

// Which values are functions of which codes.
class TableFuser {
 public:
  explicit TableFuser(Graph& graph) : graph_(graph) {}

  void join(Node& node) {
    if (node.outputs.size() != 1 || node.outputs[0] == kNoValue) return;
    std::vector<std::size_t> data;  // inputs that are codes; the others must be constants
    if (node.op_type == "Lookup" && node.domain == "narrow") data = {0};
    else if (node.domain != "com.microsoft") return;
    else if (node.op_type == "QLinearSigmoid" || node.op_type == "QLinearLeakyRelu") data = {0};
    else if (node.op_type == "QLinearMul" || node.op_type == "QLinearAdd") data = {0, 3};
    if (data.empty()) return;
    ValueId source = kNoValue;
    std::vector<const Tensor*> inputs;
    std::vector<Tensor> all(data.size());
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const auto at = std::find(data.begin(), data.end(), i);
      if (at == data.end()) {
        if (node.inputs[i] != kNoValue && graph_.constant(node.inputs[i]) == nullptr) return;
        inputs.push_back(graph_.constant(node.inputs[i]));
        continue;
      }
      const ValueId id = node.inputs[i];
      if (id == kNoValue) return;
      if (const Tensor* constant = graph_.constant(id)) {  // a number stands beside each code
        if (constant->size() != 1 || bits_of(constant->dtype()) != 8) return;
        Result<Tensor> made = Tensor::create(constant->dtype(), {256});
        if (!made.ok()) return;
        Tensor& repeated = all[static_cast<std::size_t>(at - data.begin())] = *made;
        std::fill_n(static_cast<std::uint8_t*>(repeated.mutable_raw()), 256, static_cast<const std::uint8_t*>(constant->raw())[0]);
        inputs.push_back(&repeated);
        continue;
      }
      const auto function = functions_.find(id);
      const ValueId own = function != functions_.end() ? function->second.source : id;
      if (source != kNoValue && source != own) return;
      source = own;
      Tensor& codes = all[static_cast<std::size_t>(at - data.begin())];
      if (function != functions_.end()) {
        codes = function->second.codes;
      } else {
        const DType dtype = graph_.value(id).type.dtype;
        if (dtype != DType::kU8 && dtype != DType::kS8) return;
        Result<Tensor> made = Tensor::create(dtype, {256});
        if (!made.ok()) return;
        codes = *made;
        for (int c = 0; c < 256; ++c) static_cast<std::uint8_t*>(codes.mutable_raw())[c] = static_cast<std::uint8_t>(c);
      }
      inputs.push_back(&codes);
    }
    if (source == kNoValue) return;
    Result<std::vector<Tensor>> out = operators::evaluate_node(node, inputs);
    if (!out.ok() || out->empty() || (*out)[0].shape() != Shape{256} || bits_of((*out)[0].dtype()) != 8) return;
    const LookupTable table{source, (*out)[0]};
    const ValueId constant = graph_.add_constant(node.name + "_table", table.codes);
    node.op_type = "Lookup";
    node.domain = "narrow";
    node.attributes.clear();
    node.inputs = {source, constant};
    functions_[node.outputs[0]] = table;
  }

 private:
  Graph& graph_;
  std::map<ValueId, LookupTable> functions_;
};

}  // namespace

void fuse_tables(Graph& graph) {
  TableFuser fuser(graph);
  for (Node& node : graph.nodes) fuser.join(node);
  graph::remove_dead(graph);
  constexpr std::size_t kYScale = 6, kTable = 9;
  const Uses uses(graph);
  for (Node& lookup : graph.nodes) {
    if (lookup.op_type != "Lookup" || lookup.domain != "narrow") continue;
    const ValueId codes = lookup.input(0);
    if (uses.producer[codes] < 0 || uses.is_output[codes] || uses.readers[codes].size() != 1) continue;
    Node& conv = graph.nodes[static_cast<std::size_t>(uses.producer[codes])];
    if (conv.op_type != "QConv" || conv.domain != "narrow" || conv.input(kYScale) == kNoValue || conv.input(kTable) != kNoValue) continue;
    conv.inputs.resize(kTable + 1, kNoValue);
    conv.inputs[kTable] = lookup.input(1);
    conv.outputs = lookup.outputs;
    lookup.inputs.clear();
    lookup.outputs.clear();
  }
}

}  // namespace narrow::passes
