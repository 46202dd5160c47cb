// com.microsoft's layers of quantized BERT models: QAttention and QEmbedLayerNormalization. Each is its float layer after
// an integer product or after the rows of tables are made float, and runs through the rows of those operators.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/quantized_io.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

constexpr std::string_view kMicrosoft = "com.microsoft";

// Runs another operator on given inputs, with the outputs of this one or of its own.
class InnerContext final : public RunContext {
 public:
  using Output = std::function<Result<Tensor*>(std::size_t, DType, std::span<const std::int64_t>)>;
  InnerContext(RunContext& outer, std::vector<Tensor> inputs, std::vector<bool> wanted, Output output)
      : outer_(outer), inputs_(inputs.begin(), inputs.end()), wanted_(std::move(wanted)), output_(std::move(output)) {}
  std::size_t input_count() const override { return inputs_.size(); }
  const Tensor& input(std::size_t i) const override { return value(i).tensor(); }
  const RuntimeValue& value(std::size_t i) const override {
    static const RuntimeValue none;
    return i < inputs_.size() ? inputs_[i] : none;
  }
  Result<Tensor*> output(std::size_t i, DType dtype, std::span<const std::int64_t> shape) override { return output_(i, dtype, shape); }
  void set_output(std::size_t i, Tensor tensor) override { outer_.set_output(i, std::move(tensor)); }
  void set_value(std::size_t i, RuntimeValue value) override { outer_.set_value(i, std::move(value)); }
  bool wants_output(std::size_t i) const override { return i < wanted_.size() && wanted_[i]; }
  const RuntimeValue* captured(std::string_view) const override { return nullptr; }
  base::ThreadPool& pool() override { return outer_.pool(); }

 private:
  RunContext& outer_;
  std::vector<RuntimeValue> inputs_;
  std::vector<bool> wanted_;
  Output output_;
};

// ---- QAttention -----------------------------------------------------------------------------------------------------

namespace attention {

enum Input : std::size_t { kX, kWeight, kBias, kXScale, kWeightScale, kMask, kXZero, kWeightZero, kPast };
// Where MatMulIntegerToFloat finds its inputs among these.
constexpr std::size_t kProduct[] = {kX, kWeight, kXScale, kWeightScale, kXZero, kWeightZero, kBias};

Status check_weight(const Node& node, std::int64_t heads, std::int64_t columns) {
  if (columns % 3 == 0 && columns / 3 % heads == 0) return {};
  return bad_attribute(node, fmt::format("the weight has {} columns, expected those of query, key and value for {} heads", columns, heads));
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const std::int64_t heads, read_count(node, "num_heads"));
  NARROW_RETURN_IF_ERROR(check_rank(context, kX, 3, 3));
  NARROW_RETURN_IF_ERROR(check_rank(context, kWeight, 2, 2));
  const Type& x = context.input(kX);
  const Type& weight = context.input(kWeight);
  const Type& past = context.input(kPast);
  Dim batch, length, hidden, total;
  if (x.ranked) {
    batch = x.dims[0];
    length = total = x.dims[1];
  }
  if (context.has_input(kPast)) total = past.ranked && past.rank() == 5 ? add_dims(past.dims[3], length) : Dim();
  if (weight.ranked && weight.dims[1].known()) {
    NARROW_RETURN_IF_ERROR(check_weight(node, heads, weight.dims[1].size));
    hidden = Dim(weight.dims[1].size / 3);
  }
  const DType dtype = context.input(kWeightScale).dtype;
  context.set_output(0, Type::tensor(dtype, {batch, length, hidden}));
  if (node.output(1) != graph::kNoValue) context.set_output(1, Type::tensor(dtype, {Dim(2), batch, Dim(heads), total, divide_dims(hidden, Dim(heads))}));
  return {};
}

class AttentionKernel final : public Kernel {
 public:
  static Result<std::unique_ptr<Kernel>> prepare(const PrepareContext& context) {
    auto kernel = std::make_unique<AttentionKernel>();
    kernel->node_ = *context.node;
    Node& product = kernel->product_node_;
    product.name = context.node->name;
    product.op_type = "MatMulIntegerToFloat";
    product.domain = kMicrosoft;
    product.outputs = {context.node->output(0)};
    PrepareContext inner;
    inner.node = &product;
    inner.threads = context.threads;
    inner.output_types.resize(1);
    for (std::size_t i : kProduct) {
      product.inputs.push_back(context.node->input(i));
      inner.input_types.push_back(i < context.input_types.size() ? context.input_types[i] : Type());
      inner.constants.push_back(i < context.constants.size() ? context.constants[i] : nullptr);
    }
    NARROW_TRY(kernel->product_, operators::prepare(inner));
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

  std::string describe() const override { return product_->describe(); }

  Status run(RunContext& context) override {
    NARROW_TRY(const std::int64_t heads, read_count(node_, "num_heads"));
    if (node_.get_int("do_rotary", 0) != 0 || node_.get_int("past_present_share_buffer", 0) != 0) {
      return unsupported(fmt::format("{}: narrow does not run it with do_rotary or a shared buffer of past and present", where(node_)));
    }
    const Tensor& x = context.input(kX);
    const Tensor& weight = context.input(kWeight);
    if (x.rank() != 3 || weight.rank() != 2) return bad_input(node_, fmt::format("input {} and weight {}, expected ranks 3 and 2", to_string(x.shape()), to_string(weight.shape())));
    NARROW_RETURN_IF_ERROR(check_weight(node_, heads, weight.shape()[1]));
    Tensor projections;
    std::vector<Tensor> inputs;
    for (std::size_t i : kProduct) inputs.push_back(context.input(i));
    InnerContext product(context, std::move(inputs), {true}, [&](std::size_t, DType dtype, std::span<const std::int64_t> shape) -> Result<Tensor*> {
      NARROW_TRY(projections, Tensor::create(dtype, Shape(shape.begin(), shape.end())));
      return &projections;
    });
    NARROW_RETURN_IF_ERROR(product_->run(product));
    return attend(context, projections, heads);
  }

 private:
  // MultiHeadAttention on the three parts; its two states are the halves of past and present here.
  Status attend(RunContext& context, const Tensor& projections, std::int64_t heads) {
    const std::int64_t rows = projections.shape()[0] * projections.shape()[1], hidden = projections.shape()[2] / 3;
    const DType dtype = projections.dtype();
    const std::int64_t width = bits_of(dtype) / 8;
    std::vector<Tensor> inputs(8);
    for (std::size_t part = 0; part < 3; ++part) {
      NARROW_TRY(inputs[part], Tensor::create(dtype, {projections.shape()[0], projections.shape()[1], hidden}));
      const char* from = static_cast<const char*>(projections.raw()) + static_cast<std::int64_t>(part) * hidden * width;
      char* to = static_cast<char*>(inputs[part].mutable_raw());
      for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * hidden * width, from + r * 3 * hidden * width, static_cast<std::size_t>(hidden * width));
    }
    inputs[4] = context.input(kMask);
    if (context.has_input(kPast)) {
      const Tensor& past = context.input(kPast);
      if (past.dtype() != dtype || past.rank() != 5 || past.shape()[0] != 2) {
        return bad_input(node_, fmt::format("past is {}{}, expected {}[2,{},{},past length,{}]", to_string(past.dtype()), to_string(past.shape()), to_string(dtype), projections.shape()[0], heads, hidden / heads));
      }
      auto* half = static_cast<char*>(const_cast<void*>(past.raw()));  // read only
      const Shape shape(past.shape().begin() + 1, past.shape().end());
      inputs[6] = Tensor::from_borrowed(dtype, shape, half);
      inputs[7] = Tensor::from_borrowed(dtype, shape, half + past.bytes() / 2);
    }
    Tensor* present = nullptr;
    Tensor halves[2];
    const bool wants_present = context.wants_output(1);
    InnerContext inner(context, std::move(inputs), {true, wants_present, wants_present}, [&](std::size_t i, DType type, std::span<const std::int64_t> shape) -> Result<Tensor*> {
      if (i == 0) return context.output(0, type, shape);
      if (present == nullptr) {
        Shape both = {2};
        both.insert(both.end(), shape.begin(), shape.end());
        NARROW_TRY(present, context.output(1, type, both));
      }
      char* data = static_cast<char*>(present->mutable_raw());
      halves[i - 1] = Tensor::from_borrowed(type, Shape(shape.begin(), shape.end()), data + (i == 2 ? present->bytes() / 2 : 0));
      return &halves[i - 1];
    });
    return find_operator(kMicrosoft, "MultiHeadAttention")->run(node_, inner);
  }

  Node node_, product_node_;
  std::unique_ptr<Kernel> product_;
};

}  // namespace attention

// ---- QEmbedLayerNormalization ---------------------------------------------------------------------------------------

namespace embed {

// The inputs of EmbedLayerNormalization, the tables as codes; scales follow at kWords + 6, zero points at kWords + 11.
enum Input : std::size_t { kIds, kSegments, kWords, kPositions, kSegmentTable, kGamma, kBeta, kMask };

Status infer(InferContext& context) {
  for (std::size_t i : {kIds, kWords}) NARROW_RETURN_IF_ERROR(check_rank(context, i, 2, 2));
  const Type& ids = context.input(kIds);
  const Type& words = context.input(kWords);
  const Dim batch = ids.ranked ? ids.dims[0] : Dim(), length = ids.ranked ? ids.dims[1] : Dim();
  context.set_output(0, Type::tensor(DType::kF32, {batch, length, words.ranked ? words.dims[1] : Dim()}));
  if (context.node().output(1) != graph::kNoValue) context.set_output(1, Type::tensor(DType::kS32, {batch}));
  return {};
}

// Rows of a table of codes as f32, in the order given; all of it when no rows are named.
Result<Tensor> dequantize_rows(const Node& node, RunContext& context, std::size_t input, const std::vector<std::int64_t>* rows) {
  const Tensor& table = context.input(input);
  if (!table.defined()) return Tensor();
  NARROW_RETURN_IF_ERROR(check_code_type(node, "an embedding", table.dtype()));
  NARROW_TRY(const TensorQuant q, read_quant(node, "an embedding", context.input(input + 6), context.input(input + 11)));
  Shape shape = table.shape();
  if (shape.empty() || (rows != nullptr && shape.size() != 2)) return bad_input(node, fmt::format("an embedding has shape {}, expected rank 2", to_string(shape)));
  const std::int64_t columns = shape.size() == 2 ? shape[1] : shape[0], count = rows != nullptr ? static_cast<std::int64_t>(rows->size()) : shape.size() == 2 ? shape[0] : 1;
  if (rows != nullptr) shape[0] = count;
  NARROW_TRY(Tensor out, Tensor::create(DType::kF32, shape));
  float* to = out.mutable_data<float>().data();
  const auto* codes = static_cast<const std::uint8_t*>(table.raw());
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t row = rows == nullptr ? r : (*rows)[static_cast<std::size_t>(r)];
    if (row < 0 || (table.rank() == 2 && row >= table.shape()[0])) return bad_input(node, fmt::format("an embedding has no row {}, it has {}", row, table.shape()[0]));
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::uint8_t code = codes[row * columns + j];
      *to++ = static_cast<float>((table.dtype() == DType::kS8 ? static_cast<std::int8_t>(code) : code) - q.zero_point) * q.scale;
    }
  }
  return out;
}

Status run(const Node& node, RunContext& context) {
  const Tensor& ids = context.input(kIds);
  if (ids.dtype() != DType::kS32 || ids.rank() != 2) return bad_input(node, fmt::format("input_ids are {}{}, expected s32[batch,length]", to_string(ids.dtype()), to_string(ids.shape())));
  // Only the rows that are asked for become float, so a token's row is the one of its place.
  std::vector<Tensor> inputs(8);
  const std::vector<std::int64_t> wanted = ids.to_int64();
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < ids.shape()[1]; ++i) positions.push_back(i);
  NARROW_TRY(inputs[kIds], Tensor::create(DType::kS32, ids.shape()));
  for (std::int64_t i = 0; i < ids.size(); ++i) inputs[kIds].mutable_data<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
  inputs[kSegments] = context.input(kSegments);
  inputs[kMask] = context.input(kMask);
  NARROW_TRY(inputs[kWords], dequantize_rows(node, context, kWords, &wanted));
  NARROW_TRY(inputs[kPositions], dequantize_rows(node, context, kPositions, &positions));
  for (std::size_t i : {kSegmentTable, kGamma, kBeta}) {
    NARROW_TRY(inputs[i], dequantize_rows(node, context, i, nullptr));
  }
  InnerContext inner(context, std::move(inputs), {true, context.wants_output(1)}, [&](std::size_t i, DType dtype, std::span<const std::int64_t> shape) { return context.output(i, dtype, shape); });
  return find_operator(kMicrosoft, "EmbedLayerNormalization")->run(node, inner);
}

}  // namespace embed

const std::array kOperators = {
    Operator{.name = "QAttention", .domain = kMicrosoft, .min_inputs = 5, .max_inputs = 9, .max_outputs = 2, .infer = attention::infer, .prepare = attention::AttentionKernel::prepare},
    Operator{.name = "QEmbedLayerNormalization", .domain = kMicrosoft, .max_inputs = 18, .max_outputs = 2, .infer = embed::infer, .run = embed::run},
};

}  // namespace

std::span<const Operator> quantized_fusion_operators() { return kOperators; }

}  // namespace narrow::operators
