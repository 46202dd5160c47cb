// Products with weights of few bits that are made float as they are used: com.microsoft's MatMulNBits and MatMulBnb4.
//
// The weights are never float as a whole: a thread makes some of their rows, as many as stay in its cache, and multiplies.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "encodings/bnb4.h"
#include "encodings/packed_codes.h"
#include "kernels/group_dequantize/group_dequantize.h"
#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/row_product.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

constexpr std::string_view kMicrosoft = "com.microsoft";

// What both have: weights [rows, columns] in groups of `group` along a row (MatMulBnb4: along all rows after one another).
struct WeightShape {
  std::int64_t rows = 0, columns = 0, group = 0;
  std::int64_t groups() const { return (columns + group - 1) / group; }  // of one row
};

Result<WeightShape> read_shape(const Node& node) {
  WeightShape shape;
  NARROW_TRY(shape.rows, read_count(node, "N"));
  NARROW_TRY(shape.columns, read_count(node, "K"));
  NARROW_TRY(shape.group, read_count(node, "block_size"));
  if (shape.group < 16 || (shape.group & (shape.group - 1)) != 0 || shape.group > (1 << 20)) {
    return bad_attribute(node, fmt::format("block_size is {}, expected a power of two from 16 on", shape.group));
  }
  if (!base::checked_mul(shape.rows, (shape.groups() + 1) * shape.group)) return bad_attribute(node, fmt::format("N = {} and K = {} are too large", shape.rows, shape.columns));
  return shape;
}

// Whether the product is with the transposed weights, [N, K]^T: then K is what both sides share.
bool is_transposed(const Node& node) { return node.op_type == "MatMulNBits" || node.get_int("transB", 1) != 0; }

Status infer_low_bits(InferContext& context) {
  const Node& node = context.node();
  NARROW_TRY(const WeightShape weights, read_shape(node));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, 1, set_of({DType::kU8})));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 1, -1));
  Type y = context.input(0);
  if (y.kind != TypeKind::kTensor) return {};
  if (y.ranked) {
    const bool transposed = is_transposed(node);
    NARROW_TRY([[maybe_unused]] const Dim inner, unify_dims(node, y.dims.back(), Dim(transposed ? weights.columns : weights.rows), "the inner dimension"));
    y.dims.back() = Dim(transposed ? weights.rows : weights.columns);
  }
  context.set_output(0, std::move(y));
  return {};
}

template <typename Dequantize>
Status multiply(const Node& node, RunContext& context, const WeightShape& weights, const float* bias, const Dequantize& dequantize) {
  return multiply_rows(node, context, {weights.rows, weights.columns, dequantize}, is_transposed(node), bias);
}

// ---- MatMulNBits ----------------------------------------------------------------------------------------------------

namespace nbits {

enum Input : std::size_t { kA, kB, kScales, kZeroPoints, kGroupIndex, kBias };

Result<int> read_bits(const Node& node) {
  const std::int64_t bits = node.get_int("bits", 4);
  if (bits == 2 || bits == 4 || bits == 8) return static_cast<int>(bits);
  return bad_attribute(node, fmt::format("bits is {}, expected 2, 4 or 8", bits));
}

Status infer(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const int bits, read_bits(context.node()));
  return infer_low_bits(context);
}

// The zero point of each group: packed codes, numbers, or the middle of the range when there are none.
Result<std::vector<float>> read_zeros(const Node& node, const Tensor& tensor, const WeightShape& weights, int bits) {
  const std::int64_t groups = weights.groups(), row = encodings::packed_bytes(groups, bits);
  if (!tensor.defined()) return std::vector<float>(static_cast<std::size_t>(weights.rows * groups), static_cast<float>(1 << (bits - 1)));
  const bool packed = tensor.dtype() == DType::kU8;
  const std::int64_t expected = weights.rows * (packed ? row : groups);
  if (tensor.size() != expected || (!packed && !contains(kFloatTypes, tensor.dtype()))) {
    return bad_input(node, fmt::format("zero_points are {}{}, expected {} u8 or {} floats", to_string(tensor.dtype()), to_string(tensor.shape()), weights.rows * row, weights.rows * groups));
  }
  if (!packed) return tensor.to_float();
  std::vector<float> zeros;
  zeros.reserve(static_cast<std::size_t>(weights.rows * groups));
  for (std::int64_t r = 0; r < weights.rows; ++r) {
    const std::uint8_t* codes = tensor.data<std::uint8_t>().data() + r * row;
    for (std::int64_t g = 0; g < groups; ++g) zeros.push_back(static_cast<float>(encodings::read_code(codes, bits, g)));
  }
  return zeros;
}

// Which group each column belongs to, when the node says so itself; the list may go on to the end of the last group.
Result<std::vector<std::int32_t>> read_group_index(const Node& node, const Tensor& tensor, const WeightShape& weights) {
  if (!tensor.defined()) return std::vector<std::int32_t>();
  if (tensor.dtype() != DType::kS32 || (tensor.size() != weights.columns && tensor.size() != weights.groups() * weights.group)) {
    return bad_input(node, fmt::format("g_idx is {}{}, expected s32[{}]", to_string(tensor.dtype()), to_string(tensor.shape()), weights.columns));
  }
  const auto given = tensor.data<std::int32_t>().first(static_cast<std::size_t>(weights.columns));
  const auto bad = std::find_if(given.begin(), given.end(), [&](std::int32_t g) { return g < 0 || g >= weights.groups(); });
  if (bad != given.end()) return bad_input(node, fmt::format("g_idx holds {}, expected a group below {}", *bad, weights.groups()));
  return std::vector<std::int32_t>(given.begin(), given.end());
}

Status run(const Node& node, RunContext& context) {
  if (node.get_int("weight_prepacked", 0) != 0) return unsupported(fmt::format("{}: its weights are packed for another processor", where(node)));
  NARROW_TRY(const int bits, read_bits(node));
  NARROW_TRY(const WeightShape weights, read_shape(node));
  FloatInput bias;
  if (context.has_input(kBias)) {
    if (context.input(kBias).shape() != Shape{weights.rows}) return bad_input(node, fmt::format("the bias has shape {}, expected [{}]", to_string(context.input(kBias).shape()), weights.rows));
    NARROW_TRY(bias, FloatInput::open(context.input(kBias), "the bias"));
  }
  const float* offset = bias.size() == 0 ? nullptr : bias.data();
  const Tensor& b = context.input(kB);
  const std::int64_t groups = weights.groups(), group_bytes = encodings::packed_bytes(weights.group, bits);
  if (b.size() == 0) {  // an omitted projection
    return multiply(node, context, weights, offset, [&](std::int64_t, std::int64_t count, float* out) { std::fill_n(out, count * weights.columns, 0.0f); });
  }
  const Tensor& scale = context.input(kScales);
  if (b.dtype() != DType::kU8 || b.size() != weights.rows * groups * group_bytes || scale.size() != weights.rows * groups) {
    return bad_input(node, fmt::format("B is {}{} with scales {}, expected u8[{},{},{}] and [{},{}]", to_string(b.dtype()), to_string(b.shape()), to_string(scale.shape()), weights.rows,
                                       groups, group_bytes, weights.rows, groups));
  }
  NARROW_TRY(const FloatInput scales, FloatInput::open(scale, "the scales"));
  NARROW_TRY(const std::vector<float> zeros, read_zeros(node, context.input(kZeroPoints), weights, bits));
  NARROW_TRY(const std::vector<std::int32_t> group_of, read_group_index(node, context.input(kGroupIndex), weights));
  const std::uint8_t* codes = b.data<std::uint8_t>().data();
  const kernels::GroupDequantize dequantize = kernels::group_dequantize_kernels().of(bits);
  return multiply(node, context, weights, offset, [&](std::int64_t first, std::int64_t count, float* out) {
    for (std::int64_t r = first; r < first + count; ++r, out += weights.columns) {
      const std::uint8_t* row = codes + r * groups * group_bytes;
      const float* s = scales.data() + r * groups;
      const float* z = zeros.data() + r * groups;
      if (!group_of.empty()) {
        for (std::int64_t k = 0; k < weights.columns; ++k) out[k] = (static_cast<float>(encodings::read_code(row, bits, k)) - z[group_of[k]]) * s[group_of[k]];
        continue;
      }
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t n = std::min(weights.group, weights.columns - g * weights.group);
        dequantize(row + g * group_bytes, static_cast<std::size_t>(n), s[g], z[g], out + g * weights.group);
      }
    }
  });
}

}  // namespace nbits

// ---- MatMulBnb4 -----------------------------------------------------------------------------------------------------

namespace bnb4 {

Result<const float*> read_values(const Node& node) {
  const std::int64_t type = node.get_int("quant_type", -1);
  if (type == 0) return encodings::kFp4Values;
  if (type == 1) return encodings::kNf4Values;
  return bad_attribute(node, fmt::format("quant_type is {}, expected 0 (FP4) or 1 (NF4)", type));
}

Status infer(InferContext& context) {
  NARROW_TRY([[maybe_unused]] const float* values, read_values(context.node()));
  return infer_low_bits(context);
}

// The codes of all weights in a row, the first in the upper half of its byte; each group has its largest magnitude.
Status run(const Node& node, RunContext& context) {
  NARROW_TRY(const float* values, read_values(node));
  NARROW_TRY(const WeightShape weights, read_shape(node));
  const Tensor& b = context.input(1);
  const Tensor& scale = context.input(2);
  const std::int64_t size = weights.rows * weights.columns, groups = (size + weights.group - 1) / weights.group;
  if (b.dtype() != DType::kU8 || b.size() != (size + 1) / 2 || scale.size() != groups) {
    return bad_input(node, fmt::format("B is {}{} with absmax {}, expected u8[{}] and [{}]", to_string(b.dtype()), to_string(b.shape()), to_string(scale.shape()), (size + 1) / 2, groups));
  }
  NARROW_TRY(const FloatInput scales, FloatInput::open(scale, "absmax"));
  const std::uint8_t* codes = b.data<std::uint8_t>().data();
  return multiply(node, context, weights, nullptr, [&](std::int64_t first, std::int64_t count, float* out) {
    const std::int64_t begin = first * weights.columns, end = begin + count * weights.columns;
    for (std::int64_t i = begin; i < end; ++i) *out++ = values[codes[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15] * scales.data()[i / weights.group];
  });
}

}  // namespace bnb4

const std::array kOperators = {
    Operator{.name = "MatMulNBits", .domain = kMicrosoft, .min_inputs = 3, .max_inputs = 6, .infer = nbits::infer, .run = nbits::run},
    Operator{.name = "MatMulBnb4", .domain = kMicrosoft, .min_inputs = 3, .max_inputs = 3, .infer = bnb4::infer, .run = bnb4::run},
};

}  // namespace

std::span<const Operator> matmul_nbits_operators() { return kOperators; }

}  // namespace narrow::operators
