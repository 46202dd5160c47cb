// The one representation of a model: a typed graph whose operators mean what ONNX (newest opset) says they mean.
//
// A Graph owns its values by id and keeps its nodes in topological order. A value is a graph input, a constant, the
// output of exactly one node, or (in a subgraph) captured by name from the enclosing graph.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "narrow/result.h"
#include "tensor/quant_type.h"
#include "tensor/tensor.h"

namespace narrow::graph {

using ValueId = std::int32_t;
inline constexpr ValueId kNoValue = -1;  // an omitted optional input or output

// A dimension: a known size, a named symbol, or unknown (-1 and no symbol).
struct Dim {
  std::int64_t size = -1;
  std::string symbol;

  Dim() = default;
  Dim(std::int64_t s) : size(s) {}                          // NOLINT: implicit on purpose
  explicit Dim(std::string name) : symbol(std::move(name)) {}
  bool known() const { return size >= 0; }
  // Same known size, or same non-empty symbol.
  bool same(const Dim& other) const { return known() ? size == other.size : !symbol.empty() && symbol == other.symbol && !other.known(); }
  bool operator==(const Dim&) const = default;
};

enum class TypeKind : std::uint8_t { kUnknown, kTensor, kSequence, kOptional, kOther };

// A tensor, a sequence of tensors, or an optional tensor or sequence; dtype, ranked and dims are those of the tensors inside.
struct Type {
  TypeKind kind = TypeKind::kUnknown;
  DType dtype = DType::kUndefined;
  bool ranked = false;              // false: even the rank is unknown
  bool of_sequence = false;         // kOptional: what may be inside is a sequence
  std::vector<Dim> dims;
  std::string foreign;              // kOther: the format's own bytes, kept for the way out

  static Type tensor(DType dtype) { Type t; t.kind = TypeKind::kTensor; t.dtype = dtype; return t; }
  static Type tensor(DType dtype, std::vector<Dim> dims) { Type t = tensor(dtype); t.ranked = true; t.dims = std::move(dims); return t; }
  static Type of(const Tensor& value);
  static Type sequence(Type of_tensor) { of_tensor.kind = TypeKind::kSequence; return of_tensor; }
  // Precondition: a tensor or a sequence.
  static Type optional(Type of) { of.of_sequence = of.kind == TypeKind::kSequence; of.kind = TypeKind::kOptional; return of; }
  // What is inside a sequence or an optional; any other type itself.
  Type element() const;
  int rank() const { return ranked ? static_cast<int>(dims.size()) : -1; }
  // The shape when every dimension is known.
  std::optional<Shape> static_shape() const;
  bool operator==(const Type&) const = default;
};
std::string to_string(const Type& type);  // "f32[N,3,224,224]", "f32[?]" per unknown dim, "f32[*]" unranked, "sequence(f32[*])"

struct Graph;
using GraphPtr = std::shared_ptr<Graph>;  // subgraphs: shared only while a model is copied, then cloned on write

struct Attribute {
  // kForeign holds an attribute kind that narrow only carries (sparse tensors), in the format's own bytes.
  struct Foreign { std::string bytes; bool operator==(const Foreign&) const = default; };
  using Value = std::variant<std::int64_t, float, std::string, Tensor, GraphPtr, std::vector<std::int64_t>,
                             std::vector<float>, std::vector<std::string>, std::vector<Tensor>, std::vector<GraphPtr>, Type, Foreign>;
  std::string name;
  Value value;
};

struct Node {
  std::string name;      // unique within its graph after import (made when the file has none)
  std::string op_type;
  std::string domain;    // "" is ai.onnx
  std::vector<ValueId> inputs;   // kNoValue where omitted
  std::vector<ValueId> outputs;
  std::vector<Attribute> attributes;
  std::string doc;
  std::map<std::string, std::string> metadata;

  const Attribute* find(std::string_view attribute) const;
  bool has(std::string_view attribute) const { return find(attribute) != nullptr; }
  // The attribute's value, or the default when absent or of another kind.
  std::int64_t get_int(std::string_view attribute, std::int64_t fallback) const;
  float get_float(std::string_view attribute, float fallback) const;
  std::string get_string(std::string_view attribute, std::string_view fallback) const;
  std::vector<std::int64_t> get_ints(std::string_view attribute) const;   // empty when absent
  std::vector<float> get_floats(std::string_view attribute) const;        // empty when absent
  const Tensor* get_tensor(std::string_view attribute) const;             // null when absent
  GraphPtr get_graph(std::string_view attribute) const;                   // null when absent
  const Type* get_type(std::string_view attribute) const;                 // null when absent
  void set(std::string_view attribute, Attribute::Value value);           // adds or replaces
  void erase(std::string_view attribute);

  // Input or output i, kNoValue when omitted or beyond the list.
  ValueId input(std::size_t i) const { return i < inputs.size() ? inputs[i] : kNoValue; }
  ValueId output(std::size_t i) const { return i < outputs.size() ? outputs[i] : kNoValue; }
  bool is(std::string_view type) const { return domain.empty() && op_type == type; }
};

struct Value {
  std::string name;
  Type type;
  std::optional<Tensor> constant;        // an initializer
  bool captured = false;                 // subgraphs: resolved by name in the enclosing graph
  std::optional<QuantType> quant;        // set on quantized values
  std::string doc;
};

struct Graph {
  std::string name;
  std::string doc;
  std::vector<Value> values;
  std::vector<Node> nodes;               // topological order
  std::vector<ValueId> inputs;           // true inputs first as in the file; an input that is also an initializer stays here
  std::vector<ValueId> outputs;

  Value& value(ValueId id) { return values[static_cast<std::size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
  const Tensor* constant(ValueId id) const {
    return id >= 0 && value(id).constant ? &*value(id).constant : nullptr;
  }

  // Adds a value; an empty or taken name is made unique.
  ValueId add_value(std::string_view name, Type type);
  ValueId add_constant(std::string_view name, Tensor tensor);
  std::string unique_value_name(std::string_view base) const;
  std::string unique_node_name(std::string_view base) const;
  // kNoValue when there is none.
  ValueId find_value(std::string_view name) const;
  void rename_value(ValueId id, std::string name);  // precondition: the name is free

  // A copy that shares tensor bytes but not structure (subgraphs are copied too).
  Graph clone() const;

 private:
  mutable std::unordered_map<std::string, ValueId> by_name_;  // rebuilt when stale
  mutable std::size_t indexed_ = 0;
  void index() const;
};

// Who makes and who reads each value; valid until the graph is edited. Uses inside subgraphs count by captured name.
struct Uses {
  struct Use { int node; int input; };      // input -1: read by a subgraph of that node
  std::vector<int> producer;                // node index per value, -1 when none
  std::vector<std::vector<Use>> readers;
  std::vector<bool> is_output;

  explicit Uses(const Graph& graph);
};

// Restores topological order (stable). Errors: corrupt (a cycle), naming a node on it.
Status sort_topologically(Graph& graph);

// Structure: ids in range, one producer a value, every input produced, order topological. `where` names the file.
Status verify(const Graph& graph, const std::string& where);

// Drops the nodes whose outputs nobody needs, then the values and constants that nobody mentions. Returns nodes dropped.
int remove_dead(Graph& graph);

std::string print(const Graph& graph);  // one line a node, for tests and debugging

struct Model {
  Graph graph;
  std::string source_format;                      // "onnx", …
  std::string source_path;
  std::vector<std::string> data_paths;            // the other files that tensors lie in
  std::map<std::string, std::int64_t> opsets;     // domain -> version, as imported
  std::int64_t ir_version = 0;
  std::string producer_name, producer_version, domain, doc;
  std::int64_t model_version = 0;
  std::map<std::string, std::string> metadata;    // carried out again; narrow's recipe is added here
  std::vector<std::string> foreign;               // parts narrow only carries (training info, annotations), in the format's bytes
};

}  // namespace narrow::graph
