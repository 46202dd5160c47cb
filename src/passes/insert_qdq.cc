#include "passes/insert_qdq.h"

#include <algorithm>
#include <map>
#include <string>

namespace narrow::passes {
namespace {

using graph::Graph;
using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

template <typename T>
Tensor zero_points(const std::vector<std::int32_t>& values, const Shape& shape) {
  std::vector<T> narrow(values.begin(), values.end());
  return Tensor::from<T>(shape, std::span<const T>(narrow));
}

class Inserter {
 public:
  explicit Inserter(Graph& graph) : graph_(graph) {}

  void activation(const ActivationQdq& qdq) {
    const std::string name = graph_.value(qdq.value).name;
    const Type type = graph_.value(qdq.value).type;
    ValueId raw = qdq.value, real = qdq.value;
    if (qdq.replaces) {
      raw = graph_.add_value(name + "_raw", type);
      for (Node& node : graph_.nodes) std::replace(node.outputs.begin(), node.outputs.end(), real, raw);
    } else {
      real = graph_.add_value(name + "_dq", type);
      for (const Reader& reader : qdq.readers) graph_.nodes[reader.node].inputs[reader.input] = real;
    }
    Type coded = type;
    coded.dtype = qdq.type.storage_type;
    const ValueId codes = graph_.add_value(name + "_q", coded);
    graph_.value(codes).quant = qdq.type;
    const auto [scale, zero_point] = parameters(name, qdq.type, qdq.params);
    add("QuantizeLinear", {raw, scale, zero_point}, codes);
    add("DequantizeLinear", {codes, scale, zero_point}, real);
  }

  void constant(const ConstantQdq& qdq) {
    const std::string name = graph_.value(qdq.value).name;
    const ValueId codes = graph_.add_constant(name + "_q", qdq.codes);
    graph_.value(codes).quant = qdq.type;
    Type type = Type::of(qdq.codes);
    type.dtype = qdq.type.expressed_type;
    const ValueId real = graph_.add_value(name + "_dq", type);
    const auto [scale, zero_point] = parameters(name, qdq.type, qdq.params);
    Node& node = add("DequantizeLinear", {codes, scale, zero_point}, real);
    if (zero_point == kNoValue) node.inputs.pop_back();
    if (qdq.type.granularity.kind == GranularityKind::kPerChannel) {
      node.set("axis", static_cast<std::int64_t>(qdq.type.granularity.axis));
    }
    for (const Reader& reader : qdq.readers) graph_.nodes[reader.node].inputs[reader.input] = real;
  }

  // Indices into graph.nodes that readers hold stay valid until here: new nodes are kept apart.
  Status finish() {
    for (Node& node : added_) graph_.nodes.push_back(std::move(node));
    NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph_));
    graph::remove_dead(graph_);
    return graph::verify(graph_, "the quantized graph");
  }

 private:
  // Unnamed: it runs with its neighbours, and names are what small files are made of.
  Node& add(std::string op, std::vector<ValueId> inputs, ValueId output) {
    Node node;
    node.op_type = std::move(op);
    node.inputs = std::move(inputs);
    node.outputs = {output};
    added_.push_back(std::move(node));
    return added_.back();
  }

  std::pair<ValueId, ValueId> parameters(const std::string& name, const QuantType& type, const QuantParams& params) {
    const bool scalar = type.granularity.kind == GranularityKind::kPerTensor;
    const Shape shape = scalar ? Shape{} : Shape{static_cast<std::int64_t>(params.scale.size())};
    std::string scale_key = scalar ? "s" : "v";
    for (float s : params.scale) scale_key.append(reinterpret_cast<const char*>(&s), sizeof s);
    auto [scale, fresh] = made_.try_emplace(scale_key, kNoValue);
    if (fresh) scale->second = graph_.add_constant(name + "_s", Tensor::from<float>(shape, std::span<const float>(params.scale)));

    // s32 (biases) has no zero point in ONNX.
    if (type.storage_type == DType::kS32) return {scale->second, kNoValue};
    std::string zero_key = scalar ? "zs" : "zv";
    zero_key += to_string(type.storage_type);
    for (std::int32_t z : params.zero_point) zero_key.append(reinterpret_cast<const char*>(&z), sizeof z);
    auto [zero, fresh_zero] = made_.try_emplace(zero_key, kNoValue);
    if (fresh_zero) {
      Tensor tensor;
      switch (type.storage_type) {
        case DType::kU8: tensor = zero_points<std::uint8_t>(params.zero_point, shape); break;
        case DType::kS16: tensor = zero_points<std::int16_t>(params.zero_point, shape); break;
        case DType::kU16: tensor = zero_points<std::uint16_t>(params.zero_point, shape); break;
        default: tensor = zero_points<std::int8_t>(params.zero_point, shape); break;
      }
      zero->second = graph_.add_constant(name + "_z", std::move(tensor));
    }
    return {scale->second, zero->second};
  }

  Graph& graph_;
  std::vector<Node> added_;
  std::map<std::string, ValueId> made_;
};

}  // namespace

Status insert_qdq(Graph& graph, const QdqPlan& plan) {
  Inserter inserter(graph);
  for (const ConstantQdq& qdq : plan.constants) inserter.constant(qdq);
  for (const ActivationQdq& qdq : plan.activations) inserter.activation(qdq);
  return inserter.finish();
}

}  // namespace narrow::passes
