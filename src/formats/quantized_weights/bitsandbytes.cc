// bitsandbytes' 4-bit weights: codes, the largest magnitudes of their blocks, and a JSON of what they are.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "encodings/bnb4.h"
#include "formats/quantized_weights/layouts.h"
#include "wire/json.h"

namespace narrow::formats {
namespace {

using encodings::CodebookMatrix;

constexpr std::int64_t kNestedBlock = 256;
constexpr std::string_view kState = "weight.quant_state.bitsandbytes__";

std::string_view name_of(CodebookMatrix::Type type) { return type == CodebookMatrix::Type::kNf4 ? "nf4" : "fp4"; }
const float* values_of(CodebookMatrix::Type type) { return type == CodebookMatrix::Type::kNf4 ? encodings::kNf4Values : encodings::kFp4Values; }

std::string_view torch_name(DType dtype) { return dtype == DType::kF16 ? "float16" : dtype == DType::kBF16 ? "bfloat16" : "float32"; }

std::string state_json(std::int64_t rows, std::int64_t columns, CodebookMatrix::Type type, std::int64_t block, DType expressed, const float* offset) {
  nlohmann::ordered_json state = {{"quant_type", name_of(type)}, {"blocksize", block}, {"dtype", torch_name(expressed)}, {"shape", {rows, columns}}};
  if (offset != nullptr) {
    state["nested_blocksize"] = kNestedBlock;
    state["nested_dtype"] = "float32";
    state["nested_offset"] = static_cast<double>(*offset);
  }
  std::string text = state.dump();
  // A length that does not depend on the offset's digits, so that the file can be laid out before the weights are known.
  text.resize(std::max<std::size_t>(text.size(), 256), ' ');
  return text;
}

Status expect_values(const Tensor& found, std::string_view suffix, std::span<const float> expected) {
  NARROW_RETURN_IF_ERROR(expect_shape(found, suffix, {static_cast<std::int64_t>(expected.size())}));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(found.data<float>()[i] - expected[i]) <= 1e-6f)) {
      return unsupported(fmt::format("'{}' has {} at {}, expected {}: another code", suffix, found.data<float>()[i], i, expected[i])).hint("NF4, FP4 and the dynamic map of bitsandbytes are read.");
    }
  }
  return {};
}

Tensor bytes_tensor(Shape shape, std::span<const std::uint8_t> bytes) { return Tensor::from<std::uint8_t>(std::move(shape), bytes); }

}  // namespace

std::vector<TensorSpec> bitsandbytes_specs(std::int64_t rows, std::int64_t columns, CodebookMatrix::Type type, std::int64_t block, bool nested, DType expressed) {
  const std::int64_t blocks = base::ceil_div(rows * columns, block);
  const float offset = 0;
  std::vector<TensorSpec> specs = {{"weight", DType::kU8, {base::ceil_div(rows * columns, std::int64_t{2}), 1}}, {"weight.absmax", nested ? DType::kU8 : DType::kF32, {blocks}}, {"weight.quant_map", DType::kF32, {16}}};
  if (nested) {
    specs.push_back({"weight.nested_absmax", DType::kF32, {base::ceil_div(blocks, kNestedBlock)}});
    specs.push_back({"weight.nested_quant_map", DType::kF32, {256}});
  }
  specs.push_back({fmt::format("{}{}", kState, name_of(type)), DType::kU8, {static_cast<std::int64_t>(state_json(rows, columns, type, block, expressed, nested ? &offset : nullptr).size())}});
  return specs;
}

Result<std::vector<WeightTensor>> pack_bitsandbytes(const CodebookMatrix& m, DType expressed) {
  if (!std::has_single_bit(static_cast<std::uint64_t>(m.block)) || m.block < 32 || m.block > 4096) {
    return unsupported(fmt::format("blocks of {}; bitsandbytes has 32 to 4096, powers of two", m.block)).hint("Choose 64.");
  }
  const bool nested = !m.nested.empty();
  const std::string state = state_json(m.rows, m.columns, m.type, m.block, expressed, nested ? &m.nested[0].offset : nullptr);
  std::vector<WeightTensor> tensors;
  tensors.push_back({"weight", bytes_tensor({static_cast<std::int64_t>(m.codes.size()), 1}, m.codes)});
  tensors.push_back({"weight.absmax", nested ? bytes_tensor({m.blocks()}, m.nested[0].codes) : Tensor::from<float>({m.blocks()}, std::span<const float>(m.absmax))});
  tensors.push_back({"weight.quant_map", Tensor::from<float>({16}, std::span(values_of(m.type), 16))});
  if (nested) {
    tensors.push_back({"weight.nested_absmax", Tensor::from<float>({static_cast<std::int64_t>(m.nested[0].absmax.size())}, std::span<const float>(m.nested[0].absmax))});
    tensors.push_back({"weight.nested_quant_map", Tensor::from<float>({256}, encodings::dynamic_map())});
  }
  tensors.push_back({fmt::format("{}{}", kState, name_of(m.type)), bytes_tensor({static_cast<std::int64_t>(state.size())}, {reinterpret_cast<const std::uint8_t*>(state.data()), state.size()})});
  return tensors;
}

Result<CodebookMatrix> unpack_bitsandbytes(const WeightSource& source) {
  CodebookMatrix m;
  std::optional<Tensor> state;
  for (const auto type : {CodebookMatrix::Type::kNf4, CodebookMatrix::Type::kFp4}) {
    NARROW_TRY(std::optional<Tensor> found, source(fmt::format("{}{}", kState, name_of(type))));
    if (!found) continue;
    m.type = type;
    state = std::move(found);
  }
  if (!state) {
    return not_found(fmt::format("there is neither a tensor '{0}nf4' nor '{0}fp4'", kState)).hint("LLM.int8 weights have 'SCB' instead; a weight without either is not quantized.");
  }
  if (state->dtype() != DType::kU8 || state->rank() != 1) return corrupt(fmt::format("'{}{}' is {}{}, expected bytes", kState, name_of(m.type), to_string(state->dtype()), to_string(state->shape())));
  const std::string where = fmt::format("{}{}", kState, name_of(m.type));
  NARROW_TRY(const nlohmann::json json, wire::parse_json({static_cast<const char*>(state->raw()), static_cast<std::size_t>(state->size())}, where));
  const wire::Fields fields(json, where);
  NARROW_TRY(const std::string type, fields.text("quant_type"));
  if (type != name_of(m.type)) return corrupt(fmt::format("{}: quant_type is '{}'", where, type));
  NARROW_TRY(m.block, fields.whole("blocksize"));
  NARROW_TRY(const std::vector<wire::Fields> shape, fields.list("shape"));
  if (shape.size() != 2) return unsupported(fmt::format("{}: a weight of {} dimensions, expected 2", where, shape.size()));
  NARROW_TRY(m.rows, shape[0].as_whole());
  NARROW_TRY(m.columns, shape[1].as_whole());
  if (m.block <= 0 || m.rows <= 0 || m.columns <= 0) return corrupt(fmt::format("{}: a weight of [{},{}] in blocks of {}", where, m.rows, m.columns, m.block));

  NARROW_TRY(const std::optional<Tensor> codes, source("weight"));
  if (!codes) return not_found("there is no tensor 'weight'");
  const std::int64_t bytes = base::ceil_div(m.rows * m.columns, std::int64_t{2}), blocks = m.blocks();
  // quant_storage may call the bytes another type.
  if (codes->dtype() == DType::kString || codes->bytes() != static_cast<std::uint64_t>(bytes)) {
    return corrupt(fmt::format("'weight' has {} bytes, expected {} for [{},{}] in 4 bits", codes->bytes(), bytes, m.rows, m.columns));
  }
  m.codes.assign(codes->byte_span().begin(), codes->byte_span().end());
  NARROW_TRY(const Tensor map, need_tensor(source, "weight.quant_map", {DType::kF32}, 1));
  NARROW_RETURN_IF_ERROR(expect_values(map, "weight.quant_map", {values_of(m.type), 16}));
  const bool nested = fields.has("nested_offset");
  NARROW_TRY(const Tensor absmax, need_tensor(source, "weight.absmax", {nested ? DType::kU8 : DType::kF32}, 1));
  NARROW_RETURN_IF_ERROR(expect_shape(absmax, "weight.absmax", {blocks}));
  if (!nested) {
    NARROW_TRY(m.absmax, read_scales(absmax, "weight.absmax"));
    return m;
  }
  NARROW_TRY(const std::int64_t nested_block, fields.whole("nested_blocksize"));
  if (nested_block != kNestedBlock) return unsupported(fmt::format("{}: nested blocks of {}, expected {}", where, nested_block, kNestedBlock));
  const auto offset = json.find("nested_offset");
  if (!offset->is_number() || !std::isfinite(offset->get<double>())) return corrupt(fmt::format("{}: nested_offset is no finite number", where));
  NARROW_TRY(const Tensor nested_map, need_tensor(source, "weight.nested_quant_map", {DType::kF32}, 1));
  NARROW_RETURN_IF_ERROR(expect_values(nested_map, "weight.nested_quant_map", encodings::dynamic_map()));
  NARROW_TRY(const Tensor nested_absmax, need_tensor(source, "weight.nested_absmax", {DType::kF32}, 1));
  NARROW_RETURN_IF_ERROR(expect_shape(nested_absmax, "weight.nested_absmax", {base::ceil_div(blocks, kNestedBlock)}));
  CodebookMatrix::Nested second{.offset = offset->get<float>()};
  second.codes.assign(absmax.byte_span().begin(), absmax.byte_span().end());
  NARROW_TRY(second.absmax, read_scales(nested_absmax, "weight.nested_absmax"));
  m.absmax.resize(static_cast<std::size_t>(blocks));
  for (std::size_t i = 0; i < m.absmax.size(); ++i) m.absmax[i] = encodings::dynamic_map()[second.codes[i]] * second.absmax[i / kNestedBlock] + second.offset;
  m.nested.push_back(std::move(second));
  return m;
}

}  // namespace narrow::formats
