#include "language/graph_builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "quantizers/weight_only/blocked.h"

namespace narrow::language {
namespace {

using graph::kNoValue;
using graph::Node;
using graph::Type;
using graph::ValueId;

// Bytes of a matrix as a tensor that keeps it alive.
template <typename Matrix>
Tensor share(const std::shared_ptr<const Matrix>& owner, DType dtype, Shape shape, const void* data) {
  return Tensor::from_shared(dtype, std::move(shape), owner, data);
}

Tensor all_rows(const StoredWeight& weight) {
  Tensor whole = *Tensor::create(DType::kF32, {weight.rows(), weight.columns()});
  to_float_rows(weight, 0, weight.rows(), whole.mutable_data<float>().data());
  return whole;
}

}  // namespace

ValueId GraphBuilder::input(const std::string& name, Type type) {
  const ValueId id = graph_.add_value(name, std::move(type));
  graph_.inputs.push_back(id);
  return id;
}

std::vector<ValueId> GraphBuilder::add_many(const std::string& op, const std::string& name, std::vector<ValueId> inputs, std::size_t outputs, Attributes attributes,
                                            const std::string& domain) {
  Node node;
  node.name = name;
  for (int i = 2; !nodes_.insert(node.name).second; ++i) node.name = fmt::format("{}.{}", name, i);
  node.op_type = op;
  node.domain = domain;
  node.inputs = std::move(inputs);
  while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
  node.attributes = std::move(attributes);
  for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back(graph_.add_value(outputs == 1 ? name : fmt::format("{}.{}", name, i), Type()));
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().outputs;
}

ValueId GraphBuilder::add(const std::string& op, const std::string& name, std::vector<ValueId> inputs, Attributes attributes) {
  return add_many(op, name, std::move(inputs), 1, std::move(attributes))[0];
}

ValueId GraphBuilder::integers(const std::string& name, std::vector<std::int64_t> values) {
  const auto count = static_cast<std::int64_t>(values.size());
  return constant(name, Tensor::from<std::int64_t>({count}, std::span<const std::int64_t>(values)));
}

Result<ValueId> GraphBuilder::vector(const std::string& name, std::int64_t size, float plus) {
  NARROW_TRY(const Tensor tensor, weights_.tensor(name));
  if (tensor.size() != size || !is_float(tensor.dtype())) {
    return corrupt(fmt::format("tensor '{}' is {}{}, expected {} floating-point numbers", name, to_string(tensor.dtype()), to_string(tensor.shape()), size));
  }
  std::vector<float> values = tensor.to_float();
  for (float& value : values) value += plus;
  return constant(name, Tensor::from<float>({size}, std::span<const float>(values)));
}

Result<StoredWeight> GraphBuilder::load(const std::string& module, std::int64_t rows, std::int64_t columns) const {
  NARROW_TRY(StoredWeight weight, weights_.matrix(module));
  if (weight.rows() == rows && weight.columns() == columns) return weight;
  return corrupt(fmt::format("the weight of '{}' is [{},{}], but config.json makes it [{},{}]", module, weight.rows(), weight.columns(), rows, columns));
}

void GraphBuilder::stored(const std::string& module, const StoredWeight& weight, std::vector<ValueId>& inputs, Attributes& attributes) {
  attributes.push_back({"rows", weight.rows()});
  attributes.push_back({"columns", weight.columns()});
  using Rounding = encodings::InputRounding::Kind;
  if (weight.inputs.kind == Rounding::kToken) attributes.push_back({"input_rounding", std::string("token")});
  if (weight.inputs.kind == Rounding::kTensor) {
    attributes.push_back({"input_rounding", std::string("tensor")});
    attributes.push_back({"input_scale", weight.inputs.scale});
    attributes.push_back({"input_zero", std::int64_t{weight.inputs.zero}});
  }
  const std::string name = module + ".weight";
  if (const auto& matrix = weight.grouped) {
    attributes.push_back({"encoding", std::string("grouped")});
    attributes.push_back({"bits", static_cast<std::int64_t>(matrix->bits)});
    attributes.push_back({"group_size", matrix->group_size});
    inputs.push_back(constant(name, share(matrix, DType::kU8, {matrix->rows, matrix->row_bytes()}, matrix->codes.data())));
    inputs.push_back(constant(name + ".scales", share(matrix, DType::kF32, {matrix->rows, matrix->groups()}, matrix->scales.data())));
    inputs.push_back(matrix->symmetric() ? kNoValue : constant(name + ".zeros", share(matrix, DType::kU8, {matrix->rows, matrix->groups()}, matrix->zeros.data())));
  } else if (const auto& book = weight.codebook) {
    attributes.push_back({"encoding", std::string(book->type == encodings::CodebookMatrix::Type::kNf4 ? "nf4" : "fp4")});
    attributes.push_back({"block", book->block});
    inputs.push_back(constant(name, share(book, DType::kU8, {static_cast<std::int64_t>(book->codes.size())}, book->codes.data())));
    inputs.push_back(constant(name + ".absmax", share(book, DType::kF32, {book->blocks()}, book->absmax.data())));
    inputs.push_back(kNoValue);
  } else {
    attributes.push_back({"encoding", std::string("float")});
    inputs.insert(inputs.end(), {constant(name, weight.plain), kNoValue, kNoValue});
  }
}

// The weight as an f32 value; a float of another type stays as it is stored and is cast.
ValueId GraphBuilder::plain_table(const std::string& module, const StoredWeight& weight) {
  const auto [place, fresh] = tables_.try_emplace(module, kNoValue);
  if (fresh) place->second = constant(module + ".weight", weight.quantized() ? all_rows(weight) : weight.plain);
  const ValueId table = place->second;
  if (weight.quantized()) return table;
  return weight.plain.dtype() == DType::kF32 ? table : add("Cast", module + ".f32", {table}, {{"to", std::int64_t{1}}});
}

ValueId GraphBuilder::onnx_product(const std::string& module, const StoredWeight& weight, ValueId x) {
  const std::string name = module + ".weight";
  const auto& matrix = weight.grouped;
  const bool blocked = matrix && quantizers::block_of(*matrix) != 0;
  if (blocked && form_ == Form::kOnnx) {
    const quantizers::BlockedTensors b = quantizers::to_matmul_nbits(*matrix);
    return add_many("MatMulNBits", module, {x, constant(name, b.codes), constant(name + ".scales", b.scales), b.zeros.defined() ? constant(name + ".zeros", b.zeros) : kNoValue}, 1,
                    {{"K", matrix->columns}, {"N", matrix->rows}, {"bits", static_cast<std::int64_t>(b.bits)}, {"block_size", b.block}}, "com.microsoft")[0];
  }
  if (blocked) {
    const quantizers::BlockedTensors b = quantizers::to_dequantize_linear(*matrix);
    const ValueId real = add("DequantizeLinear", module + ".dequantize", {constant(name, b.codes), constant(name + ".scales", b.scales), constant(name + ".zeros", b.zeros)},
                             {{"axis", std::int64_t{0}}, {"block_size", b.block}});
    return add("MatMul", module, {x, real});
  }
  if (const auto& book = weight.codebook; book && book->block >= 16 && (book->block & (book->block - 1)) == 0) {
    return add_many("MatMulBnb4", module,
                    {x, constant(name, share(book, DType::kU8, {static_cast<std::int64_t>(book->codes.size())}, book->codes.data())),
                     constant(name + ".absmax", share(book, DType::kF32, {book->blocks()}, book->absmax.data()))},
                    1, {{"K", book->columns}, {"N", book->rows}, {"block_size", book->block}, {"quant_type", std::int64_t{book->type == encodings::CodebookMatrix::Type::kNf4 ? 1 : 0}}},
                    "com.microsoft")[0];
  }
  const ValueId turned = add("Transpose", module + ".transpose", {plain_table(module, weight)}, {{"perm", std::vector<std::int64_t>{1, 0}}});
  return add("MatMul", module, {x, turned});
}

Result<ValueId> GraphBuilder::linear(const std::string& module, ValueId x, std::int64_t out, std::int64_t in) {
  NARROW_TRY(const StoredWeight weight, load(module, out, in));
  if (!weight.order.empty()) {
    const std::vector<std::int64_t> order(weight.order.begin(), weight.order.end());
    x = add("Gather", module + ".ordered", {x, integers(module + ".order", order)}, {{"axis", std::int64_t{-1}}});
  }
  ValueId bias = kNoValue;
  if (weights_.has(module + ".bias")) {
    NARROW_TRY(bias, vector(module + ".bias", out));
  }
  if (form_ != Form::kRun) {
    const ValueId product = onnx_product(module, weight, x);
    return bias == kNoValue ? product : add("Add", module + ".add", {product, bias});
  }
  std::vector<ValueId> inputs = {x};
  Attributes attributes;
  stored(module, weight, inputs, attributes);
  inputs.push_back(bias);
  return add_many("Linear", module, std::move(inputs), 1, std::move(attributes), "ai.narrow")[0];
}

Result<ValueId> GraphBuilder::embedding(const std::string& module, ValueId ids, std::int64_t rows, std::int64_t columns) {
  NARROW_TRY(const StoredWeight weight, load(module, rows, columns));
  if (form_ != Form::kRun) {
    if (weight.quantized() || weight.plain.dtype() == DType::kF32) return add("Gather", module, {plain_table(module, weight), ids});
    const auto [place, fresh] = tables_.try_emplace(module, kNoValue);
    if (fresh) place->second = constant(module + ".weight", weight.plain);
    const ValueId chosen = add("Gather", module, {place->second, ids});
    return add("Cast", module + ".f32", {chosen}, {{"to", std::int64_t{1}}});
  }
  std::vector<ValueId> inputs = {ids};
  Attributes attributes;
  stored(module, weight, inputs, attributes);
  return add_many("Embedding", module, std::move(inputs), 1, std::move(attributes), "ai.narrow")[0];
}

}  // namespace narrow::language
