#include "formats/onnx/functions.h"

#include <fmt/format.h>

#include "formats/onnx/schema.h"

namespace narrow::formats::onnx {
namespace {

using wire::ProtoField;
using wire::ProtoMessage;
using wire::ProtoReader;
using wire::WireType;

constexpr int kMaxCallDepth = 64;
// Bodies that call others twice, level upon level, would fill any memory. Real models repeat theirs some hundred times.
constexpr std::uint64_t kAlwaysExpanded = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxRepetition = 1000;

ProtoField as_field(const std::string& bytes) {
  ProtoField field;
  field.type = WireType::kBytes;
  field.bytes = {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  return field;
}

template <typename Visit>
Status for_each_field(const ProtoField& message, const Visit& visit) {
  ProtoReader reader(message);
  ProtoField field;
  while (true) {
    NARROW_TRY(const bool more, reader.next(field));
    if (!more) return {};
    NARROW_RETURN_IF_ERROR(visit(field));
  }
}

Result<std::string> name_of(const ProtoField& message, std::uint32_t number) {
  std::string name;
  NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
    if (field.number != number) return {};
    NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "name"));
    name = field.text();
    return {};
  }));
  return name;
}

// The message with the field `number`, its name, replaced.
Result<ProtoMessage> with_name(const ProtoField& message, std::uint32_t number, std::string_view name) {
  ProtoMessage copy;
  NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
    if (field.number != number) copy.add_field(field);
    return {};
  }));
  copy.add_string(number, name);
  return copy;
}

// Writes a body's nodes with the names and attributes of one call.
class Body {
 public:
  Body(std::string prefix, std::map<std::string, std::string> names, std::map<std::string, ProtoField> attributes)
      : prefix_(std::move(prefix)), names_(std::move(names)), attributes_(std::move(attributes)) {}

  Result<ProtoMessage> node(const ProtoField& message, int depth) const {
    ProtoMessage copy;
    NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
      switch (field.number) {
        case node_field::kInput:
        case node_field::kOutput: copy.add_string(field.number, rename(field.text())); return {};
        case node_field::kName: copy.add_string(field.number, prefix_ + std::string(field.text())); return {};
        case node_field::kAttribute: {
          NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "NodeProto.attribute"));
          return attribute(field, depth, copy);
        }
        default: copy.add_field(field); return {};
      }
    }));
    return copy;
  }

 private:
  std::string rename(std::string_view name) const {
    if (name.empty()) return {};
    const auto it = names_.find(std::string(name));
    return it != names_.end() ? it->second : prefix_ + std::string(name);
  }

  Status attribute(const ProtoField& message, int depth, ProtoMessage& node) const {
    NARROW_TRY(const std::string reference, name_of(message, attribute_field::kRefName));
    if (!reference.empty()) {
      const auto it = attributes_.find(reference);
      if (it == attributes_.end()) return {};  // neither given nor defaulted: absent here too
      NARROW_TRY(const std::string name, name_of(message, attribute_field::kName));
      NARROW_TRY(const ProtoMessage given, with_name(it->second, attribute_field::kName, name));
      node.add_message(node_field::kAttribute, given);
      return {};
    }
    ProtoMessage copy;
    NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
      if (field.number != attribute_field::kG && field.number != attribute_field::kGraphs) {
        copy.add_field(field);
        return {};
      }
      NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "AttributeProto.g"));
      NARROW_TRY(const ProtoMessage renamed, graph(field, depth + 1));
      copy.add_message(field.number, renamed);
      return {};
    }));
    node.add_message(node_field::kAttribute, copy);
    return {};
  }

  // A subgraph of the body: its own names and those it captures get the same new names.
  Result<ProtoMessage> graph(const ProtoField& message, int depth) const {
    if (depth > kMaxGraphDepth) return corrupt(fmt::format("graphs in a function are nested more than {} deep", kMaxGraphDepth));
    ProtoMessage copy;
    NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
      const bool is_value = field.number == graph_field::kInput || field.number == graph_field::kOutput || field.number == graph_field::kValueInfo;
      if (field.number == graph_field::kNode || field.number == graph_field::kInitializer || is_value) {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "GraphProto"));
      }
      if (field.number == graph_field::kNode) {
        NARROW_TRY(const ProtoMessage renamed, node(field, depth));
        copy.add_message(field.number, renamed);
      } else if (field.number == graph_field::kInitializer || is_value) {
        const std::uint32_t number = is_value ? std::uint32_t{value_field::kName} : std::uint32_t{tensor_field::kName};
        NARROW_TRY(const std::string name, name_of(field, number));
        NARROW_TRY(const ProtoMessage renamed, with_name(field, number, rename(name)));
        copy.add_message(field.number, renamed);
      } else {
        copy.add_field(field);
      }
      return {};
    }));
    return copy;
  }

  std::string prefix_;
  std::map<std::string, std::string> names_;
  std::map<std::string, ProtoField> attributes_;
};

}  // namespace

struct FunctionTable::Call {
  std::string domain, name, overload;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, ProtoField> attributes;
};

Status FunctionTable::add(const ProtoField& message) {
  Function function;
  defined_bytes_ += message.bytes.size();
  std::string name, domain, overload;
  NARROW_RETURN_IF_ERROR(for_each_field(message, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case function_field::kName: name = field.text(); return {};
      case function_field::kDomain: domain = field.text() == "ai.onnx" ? std::string_view() : field.text(); return {};
      case function_field::kOverload: overload = field.text(); return {};
      case function_field::kInput: function.inputs.emplace_back(field.text()); return {};
      case function_field::kOutput: function.outputs.emplace_back(field.text()); return {};
      case function_field::kNode:
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "FunctionProto.node"));
        function.nodes.push_back(field);
        return {};
      case function_field::kAttributeProto: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "FunctionProto.attribute_proto"));
        NARROW_TRY(const std::string attribute, name_of(field, attribute_field::kName));
        function.defaults[attribute] = field;
        return {};
      }
      case function_field::kOpsetImport: {
        std::int64_t version = 0;
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "FunctionProto.opset_import"));
        NARROW_TRY(std::string used, name_of(field, opset_field::kDomain));
        NARROW_RETURN_IF_ERROR(for_each_field(field, [&](const ProtoField& part) -> Status {
          if (part.number == opset_field::kVersion) version = part.as_int();
          return {};
        }));
        if (used == "ai.onnx") used.clear();
        if (version > 0) opsets_.emplace(used, version);
        return {};
      }
      default: return {};
    }
  }));
  if (name.empty()) return corrupt("a model-local function has no name");
  if (!functions_.emplace(Key{domain, name, overload}, std::move(function)).second) {
    return corrupt(fmt::format("the function '{}' of domain '{}' is defined twice", name, domain));
  }
  return {};
}

Result<FunctionTable::Call> FunctionTable::read_call(const ProtoField& node) const {
  Call call;
  NARROW_RETURN_IF_ERROR(for_each_field(node, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case node_field::kInput: call.inputs.emplace_back(field.text()); return {};
      case node_field::kOutput: call.outputs.emplace_back(field.text()); return {};
      case node_field::kOpType: call.name = field.text(); return {};
      case node_field::kDomain: call.domain = field.text() == "ai.onnx" ? std::string_view() : field.text(); return {};
      case node_field::kOverload: call.overload = field.text(); return {};
      case node_field::kAttribute: {
        NARROW_RETURN_IF_ERROR(wire::expect(field, WireType::kBytes, "NodeProto.attribute"));
        NARROW_TRY(const std::string name, name_of(field, attribute_field::kName));
        call.attributes[name] = field;
        return {};
      }
      default: return {};
    }
  }));
  return call;
}

const FunctionTable::Function* FunctionTable::find(const Call& call) const {
  const auto it = functions_.find(Key{call.domain, call.name, call.overload});
  return it == functions_.end() ? nullptr : &it->second;
}

Status FunctionTable::expand_into(const Call& call, const Function& function, int depth, std::vector<std::string>& out) {
  if (depth > kMaxCallDepth) return corrupt(fmt::format("the function '{}' calls itself, or calls are nested more than {} deep", call.name, kMaxCallDepth));
  if (call.inputs.size() > function.inputs.size() || call.outputs.size() > function.outputs.size()) {
    return corrupt(fmt::format("a call of the function '{}' has {} inputs and {} outputs, expected at most {} and {}", call.name, call.inputs.size(),
                               call.outputs.size(), function.inputs.size(), function.outputs.size()));
  }
  std::map<std::string, std::string> names;
  for (std::size_t i = 0; i < function.inputs.size(); ++i) names[function.inputs[i]] = i < call.inputs.size() ? call.inputs[i] : "";
  for (std::size_t i = 0; i < call.outputs.size(); ++i) {
    if (call.outputs[i].empty()) continue;
    if (!names.emplace(function.outputs[i], call.outputs[i]).second) {
      return unsupported(fmt::format("the function '{}' returns its input '{}' unchanged", call.name, function.outputs[i]));
    }
  }
  std::map<std::string, ProtoField> attributes = call.attributes;
  attributes.insert(function.defaults.begin(), function.defaults.end());
  const Body body(fmt::format("{}_{}_", call.name, calls_++), std::move(names), std::move(attributes));
  for (const ProtoField& node : function.nodes) {
    NARROW_TRY(const ProtoMessage renamed, body.node(node, 0));
    expanded_bytes_ += renamed.size();
    if (expanded_bytes_ > kAlwaysExpanded && expanded_bytes_ / kMaxRepetition > defined_bytes_) {
      return resource_exhausted(fmt::format("the model's functions call each other so often that they expand to more than {} bytes", expanded_bytes_));
    }
    std::string bytes = renamed.to_string();
    NARROW_TRY(const Call inner, read_call(as_field(bytes)));
    if (const Function* called = find(inner)) {
      NARROW_RETURN_IF_ERROR(expand_into(inner, *called, depth + 1, out));
    } else {
      out.push_back(std::move(bytes));
    }
  }
  return {};
}

Result<std::shared_ptr<const std::vector<std::string>>> FunctionTable::expand(const ProtoField& node) {
  std::shared_ptr<const std::vector<std::string>> none;
  if (functions_.empty()) return none;
  NARROW_TRY(const Call call, read_call(node));
  const Function* function = find(call);
  if (function == nullptr) return none;
  std::vector<std::string> nodes;
  NARROW_RETURN_IF_ERROR(expand_into(call, *function, 1, nodes));
  return std::shared_ptr<const std::vector<std::string>>(std::make_shared<std::vector<std::string>>(std::move(nodes)));
}

}  // namespace narrow::formats::onnx
