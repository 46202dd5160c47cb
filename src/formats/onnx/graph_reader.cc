#include "formats/onnx/graph_reader.h"

#include <fmt/format.h>

#include <unordered_set>

#include "formats/onnx/attributes.h"
#include "formats/onnx/entry.h"
#include "formats/onnx/schema.h"
#include "formats/onnx/types.h"

namespace narrow::formats::onnx {
namespace {

using graph::kNoValue;
using graph::ValueId;
using wire::ProtoField;
using wire::ProtoReader;
using wire::WireType;

struct NodeSource {
  ProtoField message;
  std::shared_ptr<const void> owner;  // of a node made from a function's body
};

struct Parts {
  std::vector<NodeSource> nodes;
  std::vector<ProtoField> initializers, sparse, inputs, outputs, value_infos;
};

struct ValueInfo {
  std::string name, doc;
  graph::Type type;
};

Result<ValueInfo> read_value_info(const ProtoField& message) {
  ValueInfo info;
  ProtoField type;
  bool has_type = false;
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) break;
    if (field.number != value_field::kName && field.number != value_field::kType && field.number != value_field::kDoc) continue;
    NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "ValueInfoProto"));
    if (field.number == value_field::kName) info.name = field.text();
    if (field.number == value_field::kDoc) info.doc = field.text();
    if (field.number == value_field::kType) {
      type = field;
      has_type = true;
    }
  }
  if (has_type) { NARROW_TRY(info.type, read_type(type.bytes, info.name)); }
  return info;
}

class GraphReader {
 public:
  GraphReader(Scope& scope, const GraphContext& context) : scope_(scope), graph_(*scope.graph), context_(context) {}

  Status read(const ProtoField& message) {
    NARROW_RETURN_IF_ERROR(split(message));
    NARROW_RETURN_IF_ERROR(read_inputs());
    for (const ProtoField& field : parts_.initializers) {
      NARROW_TRY(NamedTensor named, read_tensor(field, context_.tensors));
      NARROW_RETURN_IF_ERROR(add_initializer(std::move(named)));
    }
    for (const ProtoField& field : parts_.sparse) {
      NARROW_TRY(NamedTensor named, read_sparse_tensor(field, context_.tensors));
      NARROW_RETURN_IF_ERROR(add_initializer(std::move(named)));
    }
    NARROW_RETURN_IF_ERROR(declare_outputs());
    NARROW_RETURN_IF_ERROR(read_value_infos());
    graph_.nodes.reserve(parts_.nodes.size());
    for (const NodeSource& source : parts_.nodes) NARROW_RETURN_IF_ERROR(read_node(source));
    name_nodes();
    NARROW_RETURN_IF_ERROR(read_outputs());
    NARROW_RETURN_IF_ERROR(graph::sort_topologically(graph_));
    return graph::verify(graph_, context_.label);
  }

 private:
  Status split(const ProtoField& message) {
    ProtoReader reader(message);
    ProtoField field;
    while (true) {
      NARROW_TRY(const bool more, reader.next(field));
      if (!more) return {};
      if (field.number > graph_field::kMetadata) continue;
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "GraphProto"));
      switch (field.number) {
        case graph_field::kNode: NARROW_RETURN_IF_ERROR(add_node(field)); break;
        case graph_field::kName: graph_.name = field.text(); break;
        case graph_field::kInitializer: parts_.initializers.push_back(field); break;
        case graph_field::kDoc: graph_.doc = field.text(); break;
        case graph_field::kInput: parts_.inputs.push_back(field); break;
        case graph_field::kOutput: parts_.outputs.push_back(field); break;
        case graph_field::kValueInfo: parts_.value_infos.push_back(field); break;
        case graph_field::kSparseInitializer: parts_.sparse.push_back(field); break;
        case graph_field::kQuantizationAnnotation:
        case graph_field::kMetadata:
          if (scope_.parent == nullptr && context_.annotations != nullptr) {
            wire::ProtoMessage carried;
            carried.add_string(field.number, field.text());
            *context_.annotations += carried.to_string();
          }
          break;
        default: break;
      }
    }
  }

  // A node, or in place of a call the body of its function.
  Status add_node(const ProtoField& field) {
    if (context_.functions != nullptr) {
      NARROW_TRY(const auto body, context_.functions->expand(field));
      if (body != nullptr) {
        for (const std::string& bytes : *body) {
          ProtoField node = field;
          node.bytes = {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
          parts_.nodes.push_back({node, body});
        }
        return {};
      }
    }
    parts_.nodes.push_back({field, nullptr});
    return {};
  }

  Status read_inputs() {
    for (const ProtoField& field : parts_.inputs) {
      NARROW_TRY(ValueInfo info, read_value_info(field));
      if (info.name.empty()) return corrupt(fmt::format("{}: a graph input has no name", context_.label));
      NARROW_TRY(const ValueId id, define(info.name, "graph input"));
      graph_.value(id).type = std::move(info.type);
      graph_.value(id).doc = std::move(info.doc);
      graph_.inputs.push_back(id);
    }
    return {};
  }

  Status add_initializer(NamedTensor named) {
    if (named.name.empty()) return corrupt(fmt::format("{}: an initializer has no name", context_.label));
    ValueId id = graph_.find_value(named.name);
    if (id == kNoValue) {
      id = graph_.add_value(named.name, graph::Type::of(named.tensor));
    } else if (graph_.value(id).constant) {
      return corrupt(fmt::format("{}: two initializers are named '{}'", context_.label, named.name));
    }
    graph::Value& value = graph_.value(id);
    const graph::Type& declared = value.type;
    if (declared.kind == graph::TypeKind::kTensor && declared.dtype != DType::kUndefined && declared.dtype != named.tensor.dtype()) {
      return corrupt(fmt::format("{}: the initializer '{}' is {}, but the graph input of that name is {}", context_.label, named.name,
                                 to_string(graph::Type::of(named.tensor)), to_string(declared)));
    }
    if (declared.kind == graph::TypeKind::kUnknown) value.type = graph::Type::of(named.tensor);
    if (value.doc.empty()) value.doc = std::move(named.doc);
    value.constant = std::move(named.tensor);
    return {};
  }

  // A new value; an error when the name is taken.
  Result<ValueId> define(const std::string& name, std::string_view what) {
    if (graph_.find_value(name) != kNoValue) {
      return corrupt(fmt::format("{}: {} '{}' is defined a second time; every name may be written once", context_.label, what, name));
    }
    return graph_.add_value(name, {});
  }

  // All nodes' outputs exist before any node is read, so that nodes may come in any order.
  Status declare_outputs() {
    for (const NodeSource& source : parts_.nodes) {
      ProtoReader reader(source.message);
      ProtoField field;
      while (true) {
        NARROW_TRY(const bool more, reader.next(field));
        if (!more) break;
        if (field.number != node_field::kOutput) continue;
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "NodeProto.output"));
        if (field.bytes.empty()) continue;
        NARROW_RETURN_IF_ERROR(define(std::string(field.text()), "the node output"));
      }
    }
    return {};
  }

  Status read_value_infos() {
    for (const ProtoField& field : parts_.value_infos) {
      NARROW_TRY(ValueInfo info, read_value_info(field));
      const ValueId id = graph_.find_value(info.name);
      if (id == kNoValue) continue;  // exporters leave entries for values they removed
      graph::Value& value = graph_.value(id);
      if (value.type.kind == graph::TypeKind::kUnknown) value.type = std::move(info.type);
      if (value.doc.empty()) value.doc = std::move(info.doc);
    }
    return {};
  }

  // The value of that name here, captured through the graphs between when an outer one has it.
  ValueId resolve(const std::string& name) {
    if (const ValueId id = graph_.find_value(name); id != kNoValue) return id;
    std::vector<graph::Graph*> between = {&graph_};
    for (Scope* outer = scope_.parent; outer != nullptr; outer = outer->parent) {
      const ValueId found = outer->graph->find_value(name);
      if (found == kNoValue) {
        between.push_back(outer->graph);
        continue;
      }
      const graph::Type type = outer->graph->value(found).type;
      ValueId id = kNoValue;
      for (graph::Graph* graph : between) {
        const ValueId added = graph->add_value(name, type);
        graph->value(added).captured = true;
        if (graph == &graph_) id = added;
      }
      return id;
    }
    return kNoValue;
  }

  Status read_node(const NodeSource& source) {
    if (source.owner == nullptr) return read_node(source.message, context_);
    GraphContext context = context_;
    context.tensors.owner = source.owner;
    return read_node(source.message, context);
  }

  Status read_node(const ProtoField& message, const GraphContext& context) {
    graph::Node node;
    std::vector<ProtoField> attributes;
    std::vector<std::string> inputs;
    ProtoReader reader(message);
    ProtoField field;
    while (true) {
      NARROW_TRY(const bool more, reader.next(field));
      if (!more) break;
      if (field.number > node_field::kMetadata) continue;
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "NodeProto"));
      switch (field.number) {
        case node_field::kInput: inputs.emplace_back(field.text()); break;
        case node_field::kOutput:
          node.outputs.push_back(field.bytes.empty() ? kNoValue : graph_.find_value(field.text()));
          break;
        case node_field::kName: node.name = field.text(); break;
        case node_field::kOpType: node.op_type = field.text(); break;
        case node_field::kAttribute: attributes.push_back(field); break;
        case node_field::kDoc: node.doc = field.text(); break;
        case node_field::kDomain: node.domain = field.text() == "ai.onnx" ? std::string_view() : field.text(); break;
        case node_field::kMetadata: NARROW_RETURN_IF_ERROR(read_metadata(field, node.metadata)); break;
        default: break;
      }
    }
    if (node.op_type.empty()) return corrupt(fmt::format("{}: node '{}' has no operator", context_.label, node.name));
    const auto in_node = [&] { return fmt::format("in node '{}' ({})", node.name, node.op_type); };
    for (const std::string& name : inputs) {
      const ValueId id = name.empty() ? kNoValue : resolve(name);
      if (id == kNoValue && !name.empty()) {
        return corrupt(fmt::format("{}: node '{}' ({}) reads '{}', which no node, input or initializer provides", context_.label,
                                   node.name, node.op_type, name));
      }
      node.inputs.push_back(id);
    }
    for (const ProtoField& one : attributes) {
      NARROW_TRY(graph::Attribute attribute, read_attribute(one, scope_, context).context(in_node()));
      if (node.has(attribute.name)) return corrupt(fmt::format("{}: attribute '{}' is given twice", context_.label, attribute.name)).context(in_node());
      node.attributes.push_back(std::move(attribute));
    }
    graph_.nodes.push_back(std::move(node));
    return {};
  }

  static Status read_metadata(const ProtoField& message, std::map<std::string, std::string>& entries) {
    std::string key, value;
    NARROW_RETURN_IF_ERROR(read_entry(message, "StringStringEntryProto", key, value));
    entries[key] = value;
    return {};
  }

  // Names are optional and often repeated in files; every node gets one of its own.
  void name_nodes() {
    std::unordered_set<std::string> taken;
    for (const graph::Node& node : graph_.nodes) taken.insert(node.name);
    std::unordered_set<std::string> used;
    std::unordered_map<std::string, int> next;
    for (graph::Node& node : graph_.nodes) {
      if (!node.name.empty() && used.insert(node.name).second) continue;
      const std::string base = node.name.empty() ? node.op_type : node.name;
      int& counter = next[base];
      std::string name;
      do name = fmt::format("{}_{}", base, counter++);
      while (!taken.insert(name).second);
      used.insert(name);
      node.name = std::move(name);
    }
  }

  Status read_outputs() {
    for (const ProtoField& field : parts_.outputs) {
      NARROW_TRY(ValueInfo info, read_value_info(field));
      const ValueId id = info.name.empty() ? kNoValue : resolve(info.name);
      if (id == kNoValue) return corrupt(fmt::format("{}: graph output '{}' is never produced", context_.label, info.name));
      graph::Value& value = graph_.value(id);
      if (value.type.kind == graph::TypeKind::kUnknown) value.type = std::move(info.type);
      if (value.doc.empty()) value.doc = std::move(info.doc);
      graph_.outputs.push_back(id);
    }
    return {};
  }

  Scope& scope_;
  graph::Graph& graph_;
  const GraphContext& context_;
  Parts parts_;
};

}  // namespace

Status read_graph(const ProtoField& message, Scope& scope, const GraphContext& context) {
  return GraphReader(scope, context).read(message);
}

}  // namespace narrow::formats::onnx
