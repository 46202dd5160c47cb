#include "graph/graph.h"

#include <fmt/format.h>

namespace narrow::graph {

Type Type::of(const Tensor& value) {
  return tensor(value.dtype(), std::vector<Dim>(value.shape().begin(), value.shape().end()));
}

std::optional<Shape> Type::static_shape() const {
  if (!ranked) return std::nullopt;
  Shape shape;
  for (const Dim& dim : dims) {
    if (!dim.known()) return std::nullopt;
    shape.push_back(dim.size);
  }
  return shape;
}

Type Type::element() const {
  Type inside = *this;
  if (kind == TypeKind::kSequence || kind == TypeKind::kOptional) inside.kind = of_sequence ? TypeKind::kSequence : TypeKind::kTensor;
  inside.of_sequence = false;
  return inside;
}

std::string to_string(const Type& type) {
  if (type.kind == TypeKind::kUnknown) return "?";
  if (type.kind == TypeKind::kOther) return "other";
  if (type.kind == TypeKind::kSequence) return "sequence(" + to_string(type.element()) + ")";
  if (type.kind == TypeKind::kOptional) return "optional(" + to_string(type.element()) + ")";
  std::string text(narrow::to_string(type.dtype));
  if (!type.ranked) return text + "[*]";
  text += '[';
  for (std::size_t i = 0; i < type.dims.size(); ++i) {
    const Dim& dim = type.dims[i];
    if (i != 0) text += ',';
    text += dim.known() ? fmt::format("{}", dim.size) : dim.symbol.empty() ? "?" : dim.symbol;
  }
  return text + ']';
}

const Attribute* Node::find(std::string_view attribute) const {
  for (const Attribute& a : attributes) {
    if (a.name == attribute) return &a;
  }
  return nullptr;
}

namespace {
template <typename T>
const T* get_if(const Node& node, std::string_view attribute) {
  const Attribute* a = node.find(attribute);
  return a == nullptr ? nullptr : std::get_if<T>(&a->value);
}
}  // namespace

std::int64_t Node::get_int(std::string_view attribute, std::int64_t fallback) const {
  const auto* v = get_if<std::int64_t>(*this, attribute);
  return v ? *v : fallback;
}

float Node::get_float(std::string_view attribute, float fallback) const {
  const auto* v = get_if<float>(*this, attribute);
  return v ? *v : fallback;
}

std::string Node::get_string(std::string_view attribute, std::string_view fallback) const {
  const auto* v = get_if<std::string>(*this, attribute);
  return v ? *v : std::string(fallback);
}

std::vector<std::int64_t> Node::get_ints(std::string_view attribute) const {
  const auto* v = get_if<std::vector<std::int64_t>>(*this, attribute);
  return v ? *v : std::vector<std::int64_t>{};
}

std::vector<float> Node::get_floats(std::string_view attribute) const {
  const auto* v = get_if<std::vector<float>>(*this, attribute);
  return v ? *v : std::vector<float>{};
}

const Tensor* Node::get_tensor(std::string_view attribute) const { return get_if<Tensor>(*this, attribute); }

const Type* Node::get_type(std::string_view attribute) const { return get_if<Type>(*this, attribute); }

GraphPtr Node::get_graph(std::string_view attribute) const {
  const auto* v = get_if<GraphPtr>(*this, attribute);
  return v ? *v : nullptr;
}

void Node::set(std::string_view attribute, Attribute::Value value) {
  for (Attribute& a : attributes) {
    if (a.name == attribute) {
      a.value = std::move(value);
      return;
    }
  }
  attributes.push_back({std::string(attribute), std::move(value)});
}

void Node::erase(std::string_view attribute) {
  std::erase_if(attributes, [&](const Attribute& a) { return a.name == attribute; });
}

void Graph::index() const {
  if (indexed_ > values.size()) {
    by_name_.clear();
    indexed_ = 0;
  }
  for (; indexed_ < values.size(); ++indexed_) by_name_.emplace(values[indexed_].name, static_cast<ValueId>(indexed_));
}

ValueId Graph::find_value(std::string_view wanted) const {
  index();
  const auto it = by_name_.find(std::string(wanted));
  if (it == by_name_.end()) return kNoValue;
  return it->second;
}

std::string Graph::unique_value_name(std::string_view base) const {
  std::string candidate(base.empty() ? "value" : base);
  for (int i = 1; find_value(candidate) != kNoValue; ++i) candidate = fmt::format("{}_{}", base.empty() ? "value" : base, i);
  return candidate;
}

std::string Graph::unique_node_name(std::string_view base) const {
  std::string candidate(base);
  const auto taken = [&] {
    for (const Node& node : nodes) {
      if (node.name == candidate) return true;
    }
    return false;
  };
  for (int i = 1; candidate.empty() || taken(); ++i) candidate = fmt::format("{}_{}", base, i);
  return candidate;
}

ValueId Graph::add_value(std::string_view wanted, Type type) {
  Value value;
  value.name = unique_value_name(wanted);
  value.type = std::move(type);
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size() - 1);
}

ValueId Graph::add_constant(std::string_view wanted, Tensor tensor) {
  const ValueId id = add_value(wanted, Type::of(tensor));
  value(id).constant = std::move(tensor);
  return id;
}

void Graph::rename_value(ValueId id, std::string wanted) {
  value(id).name = std::move(wanted);
  by_name_.clear();
  indexed_ = 0;
}

Graph Graph::clone() const {
  Graph copy = *this;
  copy.by_name_.clear();
  copy.indexed_ = 0;
  for (Node& node : copy.nodes) {
    for (Attribute& attribute : node.attributes) {
      if (auto* one = std::get_if<GraphPtr>(&attribute.value); one != nullptr && *one != nullptr) {
        *one = std::make_shared<Graph>((*one)->clone());
      } else if (auto* many = std::get_if<std::vector<GraphPtr>>(&attribute.value)) {
        for (GraphPtr& g : *many) g = std::make_shared<Graph>(g->clone());
      }
    }
  }
  return copy;
}

}  // namespace narrow::graph
