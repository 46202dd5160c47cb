#include "formats/onnx/graph_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "formats/onnx/schema.h"
#include "formats/onnx/types.h"

namespace narrow::formats::onnx {
namespace {

using graph::Graph;
using graph::GraphPtr;
using graph::kNoValue;
using graph::Node;
using wire::ProtoMessage;

constexpr std::uint64_t kPage = 4096;  // data offsets start pages, so that readers can map them

ProtoMessage entry(std::string_view key, std::string_view value) {
  ProtoMessage message;
  message.add_string(entry_field::kKey, key);
  message.add_string(entry_field::kValue, value);
  return message;
}

ProtoMessage write_tensor(std::string_view name, std::string_view doc, const Tensor& tensor, ExternalLayout* external) {
  ProtoMessage message;
  message.add_packed(tensor_field::kDims, tensor.shape());
  message.add_int(tensor_field::kDataType, dtype_to_onnx(tensor.dtype()));
  if (!name.empty()) message.add_string(tensor_field::kName, name);
  if (!doc.empty()) message.add_string(tensor_field::kDoc, doc);
  if (tensor.dtype() == DType::kString) {
    for (const std::string& text : tensor.strings()) message.add_string(tensor_field::kStringData, text);
  } else if (external != nullptr && external->takes(tensor)) {
    message.add_message(tensor_field::kExternalData, entry("location", external->location()));
    message.add_message(tensor_field::kExternalData, entry("offset", fmt::format("{}", external->place(tensor))));
    message.add_message(tensor_field::kExternalData, entry("length", fmt::format("{}", tensor.bytes())));
    message.add_int(tensor_field::kDataLocation, 1);
  } else {
    message.add_view(tensor_field::kRawData, tensor.byte_span());
  }
  return message;
}

struct AttributeWriter {
  ProtoMessage& out;
  ExternalLayout* external;

  AttributeType operator()(std::int64_t v) const { out.add_int(attribute_field::kI, v); return AttributeType::kInt; }
  AttributeType operator()(float v) const { out.add_float(attribute_field::kF, v); return AttributeType::kFloat; }
  AttributeType operator()(const std::string& v) const { out.add_string(attribute_field::kS, v); return AttributeType::kString; }
  AttributeType operator()(const Tensor& v) const {
    out.add_message(attribute_field::kT, write_tensor("", "", v, nullptr));
    return AttributeType::kTensor;
  }
  AttributeType operator()(const GraphPtr& v) const {
    out.add_message(attribute_field::kG, write_graph(*v, external));
    return AttributeType::kGraph;
  }
  // Old readers know these lists one element a field, and so do all others.
  AttributeType operator()(const std::vector<std::int64_t>& v) const {
    for (std::int64_t i : v) out.add_int(attribute_field::kInts, i);
    return AttributeType::kInts;
  }
  AttributeType operator()(const std::vector<float>& v) const {
    for (float f : v) out.add_float(attribute_field::kFloats, f);
    return AttributeType::kFloats;
  }
  AttributeType operator()(const std::vector<std::string>& v) const {
    for (const std::string& s : v) out.add_string(attribute_field::kStrings, s);
    return AttributeType::kStrings;
  }
  AttributeType operator()(const std::vector<Tensor>& v) const {
    for (const Tensor& t : v) out.add_message(attribute_field::kTensors, write_tensor("", "", t, nullptr));
    return AttributeType::kTensors;
  }
  AttributeType operator()(const std::vector<GraphPtr>& v) const {
    for (const GraphPtr& g : v) out.add_message(attribute_field::kGraphs, write_graph(*g, external));
    return AttributeType::kGraphs;
  }
  AttributeType operator()(const graph::Type& v) const {
    out.add_message(attribute_field::kTypeProto, write_type(v));
    return AttributeType::kTypeProto;
  }
  AttributeType operator()(const graph::Attribute::Foreign&) const { return AttributeType::kUndefined; }
};

ProtoMessage write_attribute(const graph::Attribute& attribute, ExternalLayout* external) {
  ProtoMessage message;
  if (const auto* foreign = std::get_if<graph::Attribute::Foreign>(&attribute.value)) {
    message.add_encoded(foreign->bytes);  // name and type included
    return message;
  }
  message.add_string(attribute_field::kName, attribute.name);
  const AttributeType type = std::visit(AttributeWriter{message, external}, attribute.value);
  message.add_int(attribute_field::kType, static_cast<std::int64_t>(type));
  return message;
}

ProtoMessage write_node(const Node& node, const Graph& graph, ExternalLayout* external) {
  ProtoMessage message;
  const auto name = [&](graph::ValueId id) { return id == kNoValue ? std::string_view() : std::string_view(graph.value(id).name); };
  for (graph::ValueId id : node.inputs) message.add_string(node_field::kInput, name(id));
  for (graph::ValueId id : node.outputs) message.add_string(node_field::kOutput, name(id));
  message.add_string(node_field::kName, node.name);
  message.add_string(node_field::kOpType, node.op_type);
  for (const graph::Attribute& attribute : node.attributes) message.add_message(node_field::kAttribute, write_attribute(attribute, external));
  if (!node.doc.empty()) message.add_string(node_field::kDoc, node.doc);
  if (!node.domain.empty()) message.add_string(node_field::kDomain, node.domain);
  for (const auto& [key, value] : node.metadata) message.add_message(node_field::kMetadata, entry(key, value));
  return message;
}

ProtoMessage write_value_info(const graph::Value& value) {
  ProtoMessage message;
  message.add_string(value_field::kName, value.name);
  if (value.type.kind != graph::TypeKind::kUnknown) message.add_message(value_field::kType, write_type(value.type));
  if (!value.doc.empty() && !value.constant) message.add_string(value_field::kDoc, value.doc);
  return message;
}

}  // namespace

std::uint64_t ExternalLayout::place(const Tensor& tensor) {
  const auto [it, added] = by_address_.emplace(tensor.raw(), entries_.size());
  if (!added && entries_[it->second].bytes.size() == tensor.bytes()) return entries_[it->second].offset;
  const std::uint64_t offset = base::round_up(end_, kPage);
  entries_.push_back({tensor.byte_span(), offset});
  end_ = offset + tensor.bytes();
  return offset;
}

ProtoMessage write_graph(const Graph& graph, ExternalLayout* external) {
  ProtoMessage message;
  std::vector<bool> listed(graph.values.size(), false);
  for (graph::ValueId id : graph.inputs) listed[id] = true;
  for (graph::ValueId id : graph.outputs) listed[id] = true;
  for (const Node& node : graph.nodes) message.add_message(graph_field::kNode, write_node(node, graph, external));
  message.add_string(graph_field::kName, graph.name.empty() ? "graph" : graph.name);
  for (const graph::Value& value : graph.values) {
    if (value.constant) message.add_message(graph_field::kInitializer, write_tensor(value.name, value.doc, *value.constant, external));
  }
  if (!graph.doc.empty()) message.add_string(graph_field::kDoc, graph.doc);
  for (graph::ValueId id : graph.inputs) message.add_message(graph_field::kInput, write_value_info(graph.value(id)));
  for (graph::ValueId id : graph.outputs) message.add_message(graph_field::kOutput, write_value_info(graph.value(id)));
  // Types of what nodes compute, for readers that do not infer.
  for (const Node& node : graph.nodes) {
    for (graph::ValueId id : node.outputs) {
      if (id == kNoValue || listed[id]) continue;
      const graph::Value& value = graph.value(id);
      const bool typed = value.type.kind == graph::TypeKind::kTensor ? value.type.dtype != DType::kUndefined
                                                                     : value.type.kind != graph::TypeKind::kUnknown;
      if (typed) message.add_message(graph_field::kValueInfo, write_value_info(value));
    }
  }
  return message;
}

}  // namespace narrow::formats::onnx
