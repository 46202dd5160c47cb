// compressed-tensors' pack-quantized and int-quantized, and LLM.int8 of bitsandbytes: rows stay rows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "encodings/packed_codes.h"
#include "formats/quantized_weights/layouts.h"

namespace narrow::formats {
namespace {

using encodings::GroupedMatrix;
using encodings::ScaleType;

std::int64_t words_of(std::int64_t codes, int bits) { return base::ceil_div(codes * bits, std::int64_t{32}); }

Status check_packed(const WeightShape& s) {
  if (s.columns % s.group_size != 0) {
    return unsupported(fmt::format("a weight of {} inputs in groups of {}; pack-quantized has whole groups", s.columns, s.group_size)).hint("Choose a group size that divides the inputs.");
  }
  return {};
}

std::vector<TensorSpec> packed_specs(const WeightShape& s) {
  const std::int64_t groups = base::ceil_div(s.columns, s.group_size);
  std::vector<TensorSpec> specs = {{"weight_packed", DType::kS32, {s.rows, words_of(s.columns, s.bits)}}, {"weight_scale", dtype_of(s.scale_type), {s.rows, groups}}, {"weight_shape", DType::kS64, {2}}};
  if (!s.symmetric) specs.push_back({"weight_zero_point", DType::kS32, {words_of(s.rows, s.bits), groups}});
  if (s.ordered) specs.push_back({"weight_g_idx", DType::kS32, {s.columns}});
  return specs;
}

Result<std::vector<WeightTensor>> pack_packed(const OrderedMatrix& weight, base::ThreadPool* pool) {
  const GroupedMatrix& m = weight.matrix;
  NARROW_RETURN_IF_ERROR(check_packed(shape_of(m)));
  const std::int64_t groups = m.groups(), words = words_of(m.columns, m.bits);
  NARROW_TRY(Tensor codes, Tensor::create(DType::kS32, {m.rows, words}));
  auto* out = static_cast<std::uint8_t*>(codes.mutable_raw());
  in_parts(m.rows, 64, pool, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const std::uint8_t* row = m.codes.data() + n * m.row_bytes();
      if (weight.order.empty()) std::memcpy(out + n * words * 4, row, static_cast<std::size_t>(m.row_bytes()));
      else scatter_codes(row, m.bits, weight.order, out + n * words * 4);
    }
  });
  std::vector<WeightTensor> tensors = {{"weight_packed", std::move(codes)}, {"weight_scale", scales_tensor(m, false)}, {"weight_shape", Tensor::from<std::int64_t>({2}, {m.rows, m.columns})}};
  if (!m.symmetric()) {
    const std::int64_t zero_words = words_of(m.rows, m.bits);
    NARROW_TRY(Tensor zeros, Tensor::create(DType::kS32, {zero_words, groups}));
    std::vector<std::uint8_t> column(static_cast<std::size_t>(zero_words * 4));
    for (std::int64_t g = 0; g < groups; ++g) {
      std::fill(column.begin(), column.end(), 0);
      for (std::int64_t n = 0; n < m.rows; ++n) encodings::write_code(column.data(), m.bits, n, m.zero(n, g));
      for (std::int64_t w = 0; w < zero_words; ++w) std::memcpy(static_cast<std::uint8_t*>(zeros.mutable_raw()) + (w * groups + g) * 4, column.data() + w * 4, 4);
    }
    tensors.push_back({"weight_zero_point", std::move(zeros)});
  }
  if (!weight.order.empty()) tensors.push_back({"weight_g_idx", group_index(weight)});
  return tensors;
}

// How codes lie in words: without gaps, or, as the package did until 0.12, as many as fit whole into each.
int code_at(const std::uint8_t* words, int bits, std::int64_t index, bool whole) {
  if (!whole) return encodings::read_code(words, bits, index);
  const std::int64_t each = 32 / bits;
  std::uint32_t word;
  std::memcpy(&word, words + index / each * 4, 4);
  return static_cast<int>(word >> (index % each * bits)) & ((1 << bits) - 1);
}

// Scales of [rows, groups], [rows, 1] or [1], spread over rows and groups. Sets the matrix's group size when -1 was given.
Status read_row_scales(const Tensor& scales, GroupedMatrix& m) {
  const Shape& shape = scales.shape();
  const std::int64_t groups = m.groups();
  NARROW_TRY(std::vector<float> values, read_scales(scales, "weight_scale"));
  if (scales.size() == 1) {
    m.scales.assign(static_cast<std::size_t>(m.rows * groups), values[0]);
    return {};
  }
  if (shape == Shape{m.rows} && groups == 1) {
    m.scales = std::move(values);
    return {};
  }
  NARROW_RETURN_IF_ERROR(expect_shape(scales, "weight_scale", {m.rows, groups}));
  m.scales = std::move(values);
  return {};
}

Result<Tensor> need_scales(const WeightSource& source) {
  NARROW_TRY(const std::optional<Tensor> found, source("weight_scale"));
  return need_tensor(source, "weight_scale", {DType::kF16, DType::kBF16, DType::kF32}, found ? std::clamp(found->rank(), 0, 2) : 2);
}

Result<OrderedMatrix> unpack_packed(const WeightShape& given, const WeightSource& source, base::ThreadPool* pool) {
  NARROW_TRY(const Tensor codes, need_tensor(source, "weight_packed", {DType::kS32}, 2));
  NARROW_TRY(const Tensor scales, need_scales(source));
  NARROW_TRY(const Tensor dimensions, need_tensor(source, "weight_shape", {DType::kS64, DType::kS32}, 1));
  NARROW_RETURN_IF_ERROR(expect_shape(dimensions, "weight_shape", {2}));
  WeightShape shape = given;
  shape.rows = dimensions.to_int64()[0];
  shape.columns = dimensions.to_int64()[1];
  // The words that came bound what is made for them.
  if (shape.rows != codes.shape()[0] || shape.columns <= 0 || shape.columns / 32 > codes.shape()[1]) {
    return corrupt(fmt::format("'weight_shape' says [{},{}], 'weight_packed' has shape {}", shape.rows, shape.columns, to_string(codes.shape())));
  }
  NARROW_TRY(shape.scale_type, scale_type_of(scales.dtype()));
  OrderedMatrix weight;
  NARROW_TRY(weight.matrix, make_matrix(shape));
  GroupedMatrix& m = weight.matrix;
  const std::int64_t groups = m.groups(), words = codes.shape()[1];
  const bool whole = words != words_of(m.columns, m.bits) && words == base::ceil_div(m.columns, std::int64_t{32 / m.bits});
  if (!whole) NARROW_RETURN_IF_ERROR(expect_shape(codes, "weight_packed", {m.rows, words_of(m.columns, m.bits)}));
  NARROW_RETURN_IF_ERROR(read_row_scales(scales, m));
  NARROW_TRY(const std::optional<Tensor> index, source("weight_g_idx"));
  if (index) {
    NARROW_TRY(const Tensor checked, need_tensor(source, "weight_g_idx", {DType::kS32}, 1));
    NARROW_RETURN_IF_ERROR(expect_shape(checked, "weight_g_idx", {m.columns}));
    NARROW_TRY(weight.order, order_of(checked, m.group_size, "weight_g_idx"));
  }

  const auto* from = static_cast<const std::uint8_t*>(codes.raw());
  in_parts(m.rows, 64, pool, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t n = first; n < last; ++n) {
      const std::uint8_t* row = from + n * words * 4;
      std::uint8_t* to = m.codes.data() + n * m.row_bytes();
      if (weight.order.empty() && !whole && m.columns * m.bits % 8 == 0) {
        std::memcpy(to, row, static_cast<std::size_t>(m.row_bytes()));
        continue;
      }
      for (std::int64_t k = 0; k < m.columns; ++k) {
        encodings::write_code(to, m.bits, k, code_at(row, m.bits, weight.order.empty() ? k : weight.order[static_cast<std::size_t>(k)], whole));
      }
    }
  });
  NARROW_TRY(const std::optional<Tensor> has_zeros, source("weight_zero_point"));
  if (!has_zeros) return weight;
  NARROW_TRY(const Tensor zeros, need_tensor(source, "weight_zero_point", {DType::kS32, DType::kS8}, 2));
  m.zeros.resize(static_cast<std::size_t>(m.rows * groups));
  const auto offset = static_cast<std::uint8_t>(1 << (m.bits - 1));
  if (zeros.dtype() == DType::kS8) {  // kept as they are
    NARROW_RETURN_IF_ERROR(expect_shape(zeros, "weight_zero_point", {m.rows, groups}));
    for (std::size_t i = 0; i < m.zeros.size(); ++i) {
      const int zero = zeros.data<std::int8_t>()[i] + offset;
      if (zero < 0 || zero >= 1 << m.bits) return corrupt(fmt::format("'weight_zero_point' holds {}, beyond {} bits", zero - offset, m.bits));
      m.zeros[i] = static_cast<std::uint8_t>(zero);
    }
  } else {
    const std::int64_t zero_words = zeros.shape()[0];
    const bool zeros_whole = zero_words != words_of(m.rows, m.bits) && zero_words == base::ceil_div(m.rows, std::int64_t{32 / m.bits});
    NARROW_RETURN_IF_ERROR(expect_shape(zeros, "weight_zero_point", {zeros_whole ? zero_words : words_of(m.rows, m.bits), groups}));
    std::vector<std::uint32_t> column(static_cast<std::size_t>(zero_words));
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t w = 0; w < zero_words; ++w) column[static_cast<std::size_t>(w)] = static_cast<std::uint32_t>(zeros.data<std::int32_t>()[static_cast<std::size_t>(w * groups + g)]);
      for (std::int64_t n = 0; n < m.rows; ++n) {
        m.zeros[static_cast<std::size_t>(n * groups + g)] = static_cast<std::uint8_t>(code_at(reinterpret_cast<const std::uint8_t*>(column.data()), m.bits, n, zeros_whole));
      }
    }
  }
  return weight;
}

// One signed byte a value, one scale a row.
Status check_rows_of_bytes(const WeightShape& s, std::string_view name) {
  if (s.bits != 8 || !s.symmetric || s.ordered || s.group_size < s.columns) {
    return unsupported(fmt::format("{} holds 8 bits, symmetric, with one scale an output; asked for {} bits, groups of {}{}", name, s.bits, s.group_size, s.symmetric ? "" : ", asymmetric"));
  }
  return {};
}

void flip_signs(const std::uint8_t* from, std::uint8_t* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] ^ 0x80;  // code - 128, as a signed byte, and back
}

Result<Tensor> signed_bytes(const OrderedMatrix& weight, std::string_view name) {
  const GroupedMatrix& m = weight.matrix;
  WeightShape shape = shape_of(m);
  shape.ordered = !weight.order.empty();
  NARROW_RETURN_IF_ERROR(check_rows_of_bytes(shape, name));
  NARROW_TRY(Tensor codes, Tensor::create(DType::kS8, {m.rows, m.columns}));
  flip_signs(m.codes.data(), static_cast<std::uint8_t*>(codes.mutable_raw()), codes.size());
  return codes;
}

Result<GroupedMatrix> matrix_of_bytes(const Tensor& codes, ScaleType scale_type) {
  NARROW_TRY(GroupedMatrix m, make_matrix({.rows = codes.shape()[0], .columns = codes.shape()[1], .bits = 8, .group_size = -1, .scale_type = scale_type}));
  flip_signs(static_cast<const std::uint8_t*>(codes.raw()), m.codes.data(), codes.size());
  return m;
}

Status check_int(const WeightShape& s) { return check_rows_of_bytes(s, "int-quantized"); }

std::vector<TensorSpec> int_specs(const WeightShape& s) { return {{"weight", DType::kS8, {s.rows, s.columns}}, {"weight_scale", dtype_of(s.scale_type), {s.rows, 1}}}; }

Result<std::vector<WeightTensor>> pack_int(const OrderedMatrix& weight, base::ThreadPool*) {
  NARROW_TRY(Tensor codes, signed_bytes(weight, "int-quantized"));
  return std::vector<WeightTensor>{{"weight", std::move(codes)}, {"weight_scale", scales_tensor(weight.matrix, false)}};
}

Result<OrderedMatrix> unpack_int(const WeightShape&, const WeightSource& source, base::ThreadPool*) {
  NARROW_TRY(const Tensor codes, need_tensor(source, "weight", {DType::kS8}, 2));
  NARROW_TRY(const Tensor scales, need_scales(source));
  NARROW_TRY(const ScaleType scale_type, scale_type_of(scales.dtype()));
  OrderedMatrix weight;
  NARROW_TRY(weight.matrix, matrix_of_bytes(codes, scale_type));
  NARROW_RETURN_IF_ERROR(read_row_scales(scales, weight.matrix));
  return weight;
}

Status check_llm_int8(const WeightShape& s) {
  NARROW_RETURN_IF_ERROR(check_rows_of_bytes(s, "LLM.int8"));
  if (s.scale_type != ScaleType::kF32) return unsupported("LLM.int8 keeps scales in f32").hint("Quantize with scales in f32.");
  return {};
}

std::vector<TensorSpec> llm_int8_specs(const WeightShape& s) { return {{"weight", DType::kS8, {s.rows, s.columns}}, {"SCB", DType::kF32, {s.rows}}, {"weight_format", DType::kU8, {}}}; }

// The file keeps 127 scales: the largest magnitude of a row. Of its neighbours the one that divides back to the scale.
float largest_of(float scale) {
  const float product = scale * 127.0f;
  for (const float near : {product, std::nextafter(product, 0.0f), std::nextafter(product, std::numeric_limits<float>::infinity())}) {
    if (near / 127.0f == scale) return near;
  }
  return product;
}

Result<std::vector<WeightTensor>> pack_llm_int8(const OrderedMatrix& weight, base::ThreadPool*) {
  NARROW_RETURN_IF_ERROR(check_llm_int8(shape_of(weight.matrix)));
  NARROW_TRY(Tensor codes, signed_bytes(weight, "LLM.int8"));
  std::vector<float> largest;
  for (const float scale : weight.matrix.scales) largest.push_back(largest_of(scale));
  return std::vector<WeightTensor>{{"weight", std::move(codes)}, {"SCB", Tensor::from<float>({weight.matrix.rows}, std::span<const float>(largest))}, {"weight_format", Tensor::scalar<std::uint8_t>(0)}};
}

Result<OrderedMatrix> unpack_llm_int8(const WeightShape&, const WeightSource& source, base::ThreadPool*) {
  NARROW_TRY(const Tensor codes, need_tensor(source, "weight", {DType::kS8}, 2));
  NARROW_TRY(const Tensor largest, need_tensor(source, "SCB", {DType::kF32}, 1));
  NARROW_RETURN_IF_ERROR(expect_shape(largest, "SCB", {codes.shape()[0]}));
  NARROW_TRY(const std::optional<Tensor> format, source("weight_format"));
  if (format && (format->size() != 1 || format->at_as_double(0) != 0)) {
    return unsupported("'weight_format' is not 0: the bytes are tiled for some GPU").hint("Save the model again with bitsandbytes 0.45 or newer.");
  }
  OrderedMatrix weight;
  NARROW_TRY(weight.matrix, matrix_of_bytes(codes, ScaleType::kF32));
  NARROW_TRY(weight.matrix.scales, read_scales(largest, "SCB"));
  for (float& scale : weight.matrix.scales) scale /= 127.0f;
  return weight;
}

}  // namespace

const WeightLayout kPackQuantized = {"pack-quantized", check_packed, packed_specs, pack_packed, unpack_packed};
const WeightLayout kIntQuantized = {"int-quantized", check_int, int_specs, pack_int, unpack_int};
const WeightLayout kLlmInt8 = {"llm-int8", check_llm_int8, llm_int8_specs, pack_llm_int8, unpack_llm_int8};

}  // namespace narrow::formats
