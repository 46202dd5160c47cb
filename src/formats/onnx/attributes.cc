#include "formats/onnx/attributes.h"

#include <fmt/format.h>

#include <bit>

#include "formats/onnx/schema.h"
#include "formats/onnx/types.h"

namespace narrow::formats::onnx {
namespace {

using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

// Everything an AttributeProto may carry; its type says which part counts.
struct Parts {
  std::string name;
  AttributeType type = AttributeType::kUndefined;
  AttributeType seen = AttributeType::kUndefined;  // old files leave the type out
  std::int64_t i = 0;
  float f = 0;
  std::string s;
  ProtoField t, g, type_proto;
  bool has_t = false, has_g = false;
  std::vector<std::int64_t> ints;
  std::vector<float> floats;
  std::vector<std::string> strings;
  std::vector<ProtoField> tensors, graphs;
};

Status read_part(const ProtoField& field, Parts& parts) {
  const auto bytes = [&](AttributeType seen) {
    parts.seen = seen;
    return wire::expect(field, WireType::kBytes, "AttributeProto field");
  };
  switch (field.number) {
    case attribute_field::kName:
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "AttributeProto.name"));
      parts.name = field.text();
      return {};
    case attribute_field::kType:
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "AttributeProto.type"));
      parts.type = static_cast<AttributeType>(field.as_int());
      return {};
    case attribute_field::kRefName:
      return corrupt(fmt::format("attribute '{}' refers to '{}' of a function, but this node is in no function", parts.name, field.text()));
    case attribute_field::kF:
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kFixed32, "AttributeProto.f"));
      parts.seen = AttributeType::kFloat;
      parts.f = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
      return {};
    case attribute_field::kI:
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kVarint, "AttributeProto.i"));
      parts.seen = AttributeType::kInt;
      parts.i = field.as_int();
      return {};
    case attribute_field::kS:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kString));
      parts.s = field.text();
      return {};
    case attribute_field::kT:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kTensor));
      parts.t = field;
      parts.has_t = true;
      return {};
    case attribute_field::kG:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kGraph));
      parts.g = field;
      parts.has_g = true;
      return {};
    case attribute_field::kFloats:
      parts.seen = AttributeType::kFloats;
      return wire::append_floats(field, parts.floats, "AttributeProto.floats");
    case attribute_field::kInts:
      parts.seen = AttributeType::kInts;
      return wire::append_varints(field, parts.ints, "AttributeProto.ints");
    case attribute_field::kStrings:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kStrings));
      parts.strings.emplace_back(field.text());
      return {};
    case attribute_field::kTensors:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kTensors));
      parts.tensors.push_back(field);
      return {};
    case attribute_field::kGraphs:
      NARROW_RETURN_IF_ERROR(bytes(AttributeType::kGraphs));
      parts.graphs.push_back(field);
      return {};
    case attribute_field::kSparse: return bytes(AttributeType::kSparse);
    case attribute_field::kSparses: return bytes(AttributeType::kSparses);
    case attribute_field::kTypeProto:
      parts.type_proto = field;
      return bytes(AttributeType::kTypeProto);
    case attribute_field::kTypeProtos: return bytes(AttributeType::kTypeProtos);
    default: return {};
  }
}

Result<graph::GraphPtr> read_subgraph(const ProtoField& message, Scope& scope, const GraphContext& context) {
  if (scope.depth >= kMaxGraphDepth) return corrupt(fmt::format("graphs are nested more than {} deep", kMaxGraphDepth));
  auto graph = std::make_shared<graph::Graph>();
  Scope inner{graph.get(), &scope, scope.depth + 1};
  NARROW_RETURN_IF_ERROR(read_graph(message, inner, context));
  return graph;
}

Result<Tensor> read_value(const ProtoField& message, const GraphContext& context) {
  NARROW_TRY(NamedTensor named, read_tensor(message, context.tensors));
  return std::move(named.tensor);
}

}  // namespace

Result<graph::Attribute> read_attribute(const ProtoField& message, Scope& scope, const GraphContext& context) {
  Parts parts;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    NARROW_RETURN_IF_ERROR(read_part(field, parts));
  }
  if (parts.name.empty()) return corrupt("an attribute has no name");
  const auto in_attribute = [&] { return fmt::format("in attribute '{}'", parts.name); };
  graph::Attribute attribute{parts.name, std::int64_t{0}};
  switch (parts.type == AttributeType::kUndefined ? parts.seen : parts.type) {
    case AttributeType::kInt: attribute.value = parts.i; break;
    case AttributeType::kFloat: attribute.value = parts.f; break;
    case AttributeType::kString: attribute.value = std::move(parts.s); break;
    case AttributeType::kInts: attribute.value = std::move(parts.ints); break;
    case AttributeType::kFloats: attribute.value = std::move(parts.floats); break;
    case AttributeType::kStrings: attribute.value = std::move(parts.strings); break;
    case AttributeType::kTensor: {
      if (!parts.has_t) return corrupt(fmt::format("attribute '{}' should hold a tensor and has none", parts.name));
      NARROW_TRY(attribute.value, read_value(parts.t, context).context(in_attribute()));
      break;
    }
    case AttributeType::kTensors: {
      std::vector<Tensor> tensors;
      for (const ProtoField& one : parts.tensors) {
        NARROW_TRY(Tensor tensor, read_value(one, context).context(in_attribute()));
        tensors.push_back(std::move(tensor));
      }
      attribute.value = std::move(tensors);
      break;
    }
    case AttributeType::kGraph: {
      if (!parts.has_g) return corrupt(fmt::format("attribute '{}' should hold a graph and has none", parts.name));
      NARROW_TRY(attribute.value, read_subgraph(parts.g, scope, context).context(in_attribute()));
      break;
    }
    case AttributeType::kGraphs: {
      std::vector<graph::GraphPtr> graphs;
      for (const ProtoField& one : parts.graphs) {
        NARROW_TRY(graph::GraphPtr graph, read_subgraph(one, scope, context).context(in_attribute()));
        graphs.push_back(std::move(graph));
      }
      attribute.value = std::move(graphs);
      break;
    }
    case AttributeType::kTypeProto: {
      NARROW_TRY(attribute.value, read_type(parts.type_proto.bytes, parts.name).context(in_attribute()));
      break;
    }
    case AttributeType::kSparse:
    case AttributeType::kSparses:
    case AttributeType::kTypeProtos:
      attribute.value = graph::Attribute::Foreign{std::string(message.text())};
      break;
    default:
      return corrupt(fmt::format("attribute '{}' has the type {}, which does not exist", parts.name, static_cast<std::int64_t>(parts.type)));
  }
  return attribute;
}

}  // namespace narrow::formats::onnx
