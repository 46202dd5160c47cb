#include "operators/stored_weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "base/float16.h"
#include "encodings/bnb4.h"
#include "encodings/packed_codes.h"
#include "kernels/group_dequantize/group_dequantize.h"
#include "kernels/half/half.h"
#include "operators/attention_heads.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Node;

Error misfit(const Node& node, const Tensor& tensor, std::string_view what, std::string_view expected) {
  return bad_input(node, fmt::format("{} is {}{}, expected {}", what, to_string(tensor.dtype()), to_string(tensor.shape()), expected));
}

Result<StoredRows> open_float(const Node& node, const Tensor& data, StoredRows rows) {
  if (data.shape() != Shape{rows.rows, rows.columns}) return misfit(node, data, "the weight", fmt::format("[{},{}]", rows.rows, rows.columns));
  switch (data.dtype()) {
    case DType::kF32: rows.direct = data.data<float>().data(); return rows;
    case DType::kF64:
      rows.make = [from = data.data<double>().data(), columns = rows.columns](std::int64_t first, std::int64_t count, float* out) { std::copy_n(from + first * columns, count * columns, out); };
      return rows;
    case DType::kF16:
      rows.make = [from = data.data<base::Float16>().data(), columns = rows.columns](std::int64_t first, std::int64_t count, float* out) {
        kernels::half_kernels().widen_f16(from + first * columns, static_cast<std::size_t>(count * columns), out);
      };
      return rows;
    case DType::kBF16:
      rows.make = [from = data.data<base::BFloat16>().data(), columns = rows.columns](std::int64_t first, std::int64_t count, float* out) {
        kernels::half_kernels().widen_bf16(from + first * columns, static_cast<std::size_t>(count * columns), out);
      };
      return rows;
    default: return misfit(node, data, "the weight", "f32, f64, f16 or bf16");
  }
}

Result<StoredRows> open_grouped(const Node& node, RunContext& context, const WeightInputs& inputs, StoredRows rows) {
  NARROW_TRY(const std::int64_t bits, read_count(node, "bits"));
  NARROW_TRY(const std::int64_t group, read_count(node, "group_size"));
  if (bits > 8) return bad_attribute(node, fmt::format("bits is {}, expected 1 to 8", bits));
  const std::int64_t groups = (rows.columns + group - 1) / group;
  const std::int64_t stride = encodings::packed_bytes(rows.columns, static_cast<int>(bits));
  const Tensor& data = context.input(inputs.data);
  const Tensor& scales = context.input(inputs.scales);
  if (data.dtype() != DType::kU8 || data.size() != rows.rows * stride) return misfit(node, data, "the codes", fmt::format("u8[{},{}]", rows.rows, stride));
  if (scales.dtype() != DType::kF32 || scales.size() != rows.rows * groups) return misfit(node, scales, "the scales", fmt::format("f32[{},{}]", rows.rows, groups));
  const std::uint8_t* zeros = nullptr;
  if (context.has_input(inputs.zeros)) {
    const Tensor& given = context.input(inputs.zeros);
    if (given.dtype() != DType::kU8 || given.size() != rows.rows * groups) return misfit(node, given, "the zero points", fmt::format("u8[{},{}]", rows.rows, groups));
    zeros = given.data<std::uint8_t>().data();
  }
  const kernels::GroupDequantize whole_bytes = group * bits % 8 == 0 ? kernels::group_dequantize_kernels().of(static_cast<int>(bits)) : nullptr;
  rows.make = [codes = data.data<std::uint8_t>().data(), scales = scales.data<float>().data(), zeros, whole_bytes, group, groups, stride,
               columns = rows.columns, bits = static_cast<int>(bits)](std::int64_t first, std::int64_t count, float* out) {
    for (std::int64_t r = first; r < first + count; ++r, out += columns) {
      const std::uint8_t* row = codes + r * stride;
      for (std::int64_t g = 0; g < groups; ++g) {
        const float scale = scales[r * groups + g];
        const float zero = zeros != nullptr ? static_cast<float>(zeros[r * groups + g]) : static_cast<float>(1 << (bits - 1));
        const std::int64_t begin = g * group, end = std::min(columns, begin + group);
        if (whole_bytes != nullptr) {
          whole_bytes(row + begin * bits / 8, static_cast<std::size_t>(end - begin), scale, zero, out + begin);
          continue;
        }
        for (std::int64_t k = begin; k < end; ++k) out[k] = (static_cast<float>(encodings::read_code(row, bits, k)) - zero) * scale;
      }
    }
  };
  return rows;
}

Result<StoredRows> open_codebook(const Node& node, RunContext& context, const WeightInputs& inputs, const float* values, StoredRows rows) {
  NARROW_TRY(const std::int64_t block, read_count(node, "block"));
  const std::int64_t size = rows.rows * rows.columns, blocks = (size + block - 1) / block;
  const Tensor& data = context.input(inputs.data);
  const Tensor& absmax = context.input(inputs.scales);
  if (data.dtype() != DType::kU8 || data.size() != (size + 1) / 2) return misfit(node, data, "the codes", fmt::format("u8[{}]", (size + 1) / 2));
  if (absmax.dtype() != DType::kF32 || absmax.size() != blocks) return misfit(node, absmax, "absmax", fmt::format("f32[{}]", blocks));
  rows.make = [codes = data.data<std::uint8_t>().data(), absmax = absmax.data<float>().data(), values, block, columns = rows.columns](
                  std::int64_t first, std::int64_t count, float* out) {
    const std::int64_t end = (first + count) * columns;
    for (std::int64_t i = first * columns; i < end; ++i) *out++ = values[codes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15] * absmax[i / block];
  };
  return rows;
}

}  // namespace

Result<StoredRows> open_weights(const Node& node, RunContext& context, const WeightInputs& inputs) {
  StoredRows rows;
  NARROW_TRY(rows.rows, read_count(node, "rows"));
  NARROW_TRY(rows.columns, read_count(node, "columns"));
  if (!base::checked_mul(rows.rows, rows.columns)) return bad_attribute(node, fmt::format("{} rows of {} columns are too large", rows.rows, rows.columns));
  const std::string encoding = node.get_string("encoding", "float");
  if (encoding == "float") return open_float(node, context.input(inputs.data), rows);
  if (encoding == "grouped") return open_grouped(node, context, inputs, rows);
  if (encoding == "nf4") return open_codebook(node, context, inputs, encodings::kNf4Values, rows);
  if (encoding == "fp4") return open_codebook(node, context, inputs, encodings::kFp4Values, rows);
  return bad_attribute(node, fmt::format("there is no encoding '{}'", encoding));
}

}  // namespace narrow::operators
