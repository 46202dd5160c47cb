// ONNX models written byte by byte, so that tests can say exactly what is in a file, valid or not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/protobuf.h"

namespace narrow::tests {

using wire::ProtoMessage;

inline std::span<const std::uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// ONNX numbers of element types.
enum : int { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kString = 8, kBool = 9, kFloat16 = 10, kDouble = 11,
             kUint64 = 13, kBfloat16 = 16, kUint4 = 21, kInt4 = 22 };

inline ProtoMessage tensor_header(std::string_view name, int type, const std::vector<std::int64_t>& dims) {
  ProtoMessage t;
  for (std::int64_t d : dims) t.add_int(1, d);
  t.add_int(2, type);
  t.add_string(8, name);
  return t;
}

inline ProtoMessage raw_tensor(std::string_view name, int type, const std::vector<std::int64_t>& dims, std::string_view raw) {
  ProtoMessage t = tensor_header(name, type, dims);
  t.add_string(9, raw);
  return t;
}

inline ProtoMessage float_tensor(std::string_view name, const std::vector<std::int64_t>& dims, const std::vector<float>& values) {
  return raw_tensor(name, kFloat, dims, {reinterpret_cast<const char*>(values.data()), values.size() * 4});
}

inline ProtoMessage int64_tensor(std::string_view name, const std::vector<std::int64_t>& dims, const std::vector<std::int64_t>& values) {
  return raw_tensor(name, kInt64, dims, {reinterpret_cast<const char*>(values.data()), values.size() * 8});
}

// Dimensions below 0 become the symbol "N".
inline ProtoMessage value_info(std::string_view name, int type, const std::vector<std::int64_t>& dims) {
  ProtoMessage shape;
  for (std::int64_t d : dims) {
    ProtoMessage dim;
    if (d >= 0) dim.add_int(1, d);
    else dim.add_string(2, "N");
    shape.add_message(1, dim);
  }
  ProtoMessage tensor, wrapped, info;
  tensor.add_int(1, type);
  tensor.add_message(2, shape);
  wrapped.add_message(1, tensor);
  info.add_string(1, name);
  info.add_message(2, wrapped);
  return info;
}

inline ProtoMessage int_attribute(std::string_view name, std::int64_t value) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_int(3, value);
  a.add_int(20, 2);
  return a;
}

inline ProtoMessage ints_attribute(std::string_view name, const std::vector<std::int64_t>& values) {
  ProtoMessage a;
  a.add_string(1, name);
  for (std::int64_t v : values) a.add_int(8, v);
  a.add_int(20, 7);
  return a;
}

inline ProtoMessage message_attribute(std::string_view name, std::uint32_t field, const ProtoMessage& value, int type) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_message(field, value);
  a.add_int(20, type);
  return a;
}
inline ProtoMessage tensor_attribute(std::string_view name, const ProtoMessage& tensor) { return message_attribute(name, 5, tensor, 4); }
inline ProtoMessage graph_attribute(std::string_view name, const ProtoMessage& graph) { return message_attribute(name, 6, graph, 5); }

inline ProtoMessage node(std::string_view op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                         const std::vector<ProtoMessage>& attributes = {}, std::string_view name = "", std::string_view domain = "") {
  ProtoMessage n;
  for (const std::string& i : inputs) n.add_string(1, i);
  for (const std::string& o : outputs) n.add_string(2, o);
  if (!name.empty()) n.add_string(3, name);
  n.add_string(4, op);
  for (const ProtoMessage& a : attributes) n.add_message(5, a);
  if (!domain.empty()) n.add_string(7, domain);
  return n;
}

struct GraphParts {
  std::vector<ProtoMessage> nodes, initializers, inputs, outputs, value_infos = {}, sparse = {};
};

inline ProtoMessage make_graph(const GraphParts& parts) {
  ProtoMessage g;
  for (const ProtoMessage& m : parts.nodes) g.add_message(1, m);
  g.add_string(2, "g");
  for (const ProtoMessage& m : parts.initializers) g.add_message(5, m);
  for (const ProtoMessage& m : parts.inputs) g.add_message(11, m);
  for (const ProtoMessage& m : parts.outputs) g.add_message(12, m);
  for (const ProtoMessage& m : parts.value_infos) g.add_message(13, m);
  for (const ProtoMessage& m : parts.sparse) g.add_message(15, m);
  return g;
}

inline ProtoMessage opset_import(std::string_view domain, std::int64_t version) {
  ProtoMessage o;
  o.add_string(1, domain);
  o.add_int(2, version);
  return o;
}

inline std::string make_model(const ProtoMessage& graph, std::int64_t opset = 17, const std::vector<ProtoMessage>& more_opsets = {},
                         std::int64_t ir = 8) {
  ProtoMessage m;
  m.add_int(1, ir);
  m.add_message(7, graph);
  m.add_message(8, opset_import("", opset));
  for (const ProtoMessage& o : more_opsets) m.add_message(8, o);
  return m.to_string();
}

inline std::string make_model(const GraphParts& parts, std::int64_t opset = 17) { return make_model(make_graph(parts), opset); }

}  // namespace narrow::tests
