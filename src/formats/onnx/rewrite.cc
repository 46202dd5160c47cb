#include "formats/onnx/rewrite.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/float16.h"

namespace narrow::formats::onnx {

using graph::kNoValue;
using graph::Node;
using graph::ValueId;

const graph::Type& RewriteContext::type_of(ValueId id) const {
  static const graph::Type kUnknown;
  if (id == kNoValue) return kUnknown;
  const graph::Type& declared = graph_.value(id).type;
  if (types_ == nullptr || static_cast<std::size_t>(id) >= types_->size()) return declared;
  const graph::Type& inferred = (*types_)[static_cast<std::size_t>(id)];
  return inferred.kind == graph::TypeKind::kTensor && inferred.ranked ? inferred : declared;
}

bool RewriteContext::is_used(ValueId id) const {
  if (id == kNoValue || static_cast<std::size_t>(id) >= uses_.readers.size()) return false;
  return !uses_.readers[id].empty() || uses_.is_output[id];
}

ValueId RewriteContext::add_ints(const Node& node, const char* suffix, const std::vector<std::int64_t>& values) {
  return graph_.add_constant(fmt::format("{}_{}", node.name, suffix),
                             Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
}

ValueId RewriteContext::add_scalar_like(const Node& node, const char* suffix, ValueId like, double value) {
  const graph::Type& type = type_of(like);
  Result<Tensor> scalar = make_scalar(type.kind == graph::TypeKind::kTensor ? type.dtype : DType::kF32, value);
  if (!scalar.ok()) scalar = Tensor::scalar(static_cast<float>(value));
  return graph_.add_constant(fmt::format("{}_{}", node.name, suffix), *std::move(scalar));
}

ValueId RewriteContext::emit_before(Node node) {
  if (node.outputs.empty()) node.outputs.push_back(graph_.add_value(node.name + "_output", {}));
  const ValueId out = node.outputs[0];
  before_.push_back(std::move(node));
  return out;
}

ValueId RewriteContext::redirect_output(Node& node, std::size_t i) {
  const ValueId fresh = graph_.add_value(graph_.value(node.outputs[i]).name + "_inner", {});
  node.outputs[i] = fresh;
  return fresh;
}

Node make_node(const Node& origin, const char* suffix, const char* op_type, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  Node node;
  node.name = fmt::format("{}_{}", origin.name, suffix);
  node.op_type = op_type;
  node.inputs = std::move(inputs);
  node.outputs = std::move(outputs);
  return node;
}

void set_input(Node& node, std::size_t i, ValueId id) {
  if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNoValue);
  node.inputs[i] = id;
  while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
}

Result<Tensor> make_scalar(DType dtype, double value) {
  switch (dtype) {
    case DType::kF32: case DType::kUndefined: return Tensor::scalar(static_cast<float>(value));
    case DType::kF64: return Tensor::scalar(value);
    case DType::kF16: return Tensor::scalar(base::to_float16(static_cast<float>(value)));
    case DType::kBF16: return Tensor::scalar(base::to_bfloat16(static_cast<float>(value)));
    default: break;
  }
  if (!is_integer(dtype) || bits_of(dtype) < 8) return unsupported(fmt::format("no scalar of type {}", narrow::to_string(dtype)));
  // Saturates: old forms give bounds as floats beyond the type's range.
  const int bits = bits_of(dtype);
  const double low = is_signed_integer(dtype) ? -std::ldexp(1.0, bits - 1) : 0.0;
  const double high = std::ldexp(1.0, is_signed_integer(dtype) ? bits - 1 : bits);
  std::uint64_t code = 0;
  if (value >= high) code = is_signed_integer(dtype) ? (std::uint64_t{1} << (bits - 1)) - 1 : ~std::uint64_t{0};
  else if (value <= low) code = is_signed_integer(dtype) ? std::uint64_t{1} << (bits - 1) : 0;
  else if (value == value) code = value < 0 ? static_cast<std::uint64_t>(static_cast<std::int64_t>(value)) : static_cast<std::uint64_t>(value);
  NARROW_TRY(Tensor tensor, Tensor::create(dtype, {}));
  std::memcpy(tensor.mutable_raw(), &code, static_cast<std::size_t>(bits) / 8);
  return tensor;
}

}  // namespace narrow::formats::onnx
