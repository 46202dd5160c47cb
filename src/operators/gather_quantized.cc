// com.microsoft GatherBlockQuantized: rows of an embedding table that is stored in few bits, made float as they are taken.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"
#include "encodings/packed_codes.h"
#include "operators/attention_heads.h"
#include "operators/families.h"
#include "operators/float_io.h"
#include "operators/strided_copy.h"
#include "operators/dispatch.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

enum Input : std::size_t { kData, kIndices, kScales, kZeroPoints };

constexpr DTypeSet kRealCodes = set_of({DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2, DType::kF8E5M2FNUZ, DType::kF4E2M1});
constexpr DTypeSet kDataTypes = kRealCodes | set_of({DType::kS4, DType::kU4, DType::kU8});

// Codes in an element of the last dimension of u8 data.
Result<std::int64_t> codes_per_element(const Node& node, DType dtype) {
  const std::int64_t bits = node.get_int("bits", 4);
  if (contains(kRealCodes, dtype)) return std::int64_t{1};
  if (bits != 2 && bits != 4 && bits != 8) return bad_attribute(node, fmt::format("bits is {}, expected 2, 4 or 8", bits));
  return dtype == DType::kU8 ? 8 / bits : 1;
}

struct Axes {
  int gather, quantize;
};
Result<Axes> read_axes(const Node& node, int rank) {
  Axes axes{};
  NARROW_TRY(axes.gather, normalize_axis(node, node.get_int("gather_axis", 0), rank));
  NARROW_TRY(axes.quantize, normalize_axis(node, node.get_int("quantize_axis", 1), rank));
  return axes;
}

Status infer(InferContext& context) {
  const Node& node = context.node();
  NARROW_RETURN_IF_ERROR(check_dtype(context, kData, kDataTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, kIndices, kIndexTypes));
  NARROW_RETURN_IF_ERROR(check_dtype(context, kScales, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, kData, 1, -1));
  const Type& data = context.input(kData);
  const Type& indices = context.input(kIndices);
  Type y = Type::tensor(context.input(kScales).dtype);
  if (data.ranked && indices.ranked && data.dtype != DType::kUndefined) {
    NARROW_TRY(const Axes axes, read_axes(node, data.rank()));
    NARROW_TRY(const std::int64_t per_element, codes_per_element(node, data.dtype));
    y.ranked = true;
    y.dims.assign(data.dims.begin(), data.dims.begin() + axes.gather);
    y.dims.insert(y.dims.end(), indices.dims.begin(), indices.dims.end());
    y.dims.insert(y.dims.end(), data.dims.begin() + axes.gather + 1, data.dims.end());
    if (axes.gather + 1 < data.rank()) y.dims.back() = multiply_dims(y.dims.back(), Dim(per_element));
  }
  context.set_output(0, std::move(y));
  return {};
}

// The table seen as codes.
struct Table {
  Shape shape;           // in codes
  Axes axes;
  std::int64_t group;    // codes along the quantized axis that share a scale
  Shape scales;          // shape of the scales
  std::int64_t per_element;
};

Result<Table> read_table(const Node& node, const Tensor& data, const Tensor& scales) {
  if (!contains(kDataTypes, data.dtype())) return dtype_error(node, data.dtype());
  Table table;
  if (data.rank() < 1 || scales.rank() != data.rank()) {
    return bad_input(node, fmt::format("data {} and scales {} have different ranks", to_string(data.shape()), to_string(scales.shape())));
  }
  NARROW_TRY(table.axes, read_axes(node, data.rank()));
  NARROW_TRY(table.per_element, codes_per_element(node, data.dtype()));
  table.shape = data.shape();
  table.scales = scales.shape();
  const auto last = base::checked_mul(table.shape.back(), table.per_element);
  if (!last) return bad_input(node, fmt::format("data of shape {} is too large", to_string(data.shape())));
  table.shape.back() = *last;
  if (data.dtype() == DType::kU8 && (table.axes.gather != 0 || (table.per_element > 1 && table.axes.quantize == 0))) {
    return bad_attribute(node, "u8 data is gathered along axis 0 and quantized along another");
  }
  const bool real = contains(kRealCodes, data.dtype());
  const std::int64_t block = node.get_int("block_size", 128), axis_size = table.shape[static_cast<std::size_t>(table.axes.quantize)];
  const bool whole = block == 0 && real;
  if (!whole && (block < 16 || (block & (block - 1)) != 0)) return bad_attribute(node, fmt::format("block_size is {}, expected a power of two from 16 on", block));
  table.group = whole ? std::max<std::int64_t>(1, axis_size) : block;
  for (int d = 0; d < data.rank(); ++d) {
    const std::int64_t size = table.shape[static_cast<std::size_t>(d)], found = table.scales[static_cast<std::size_t>(d)];
    const std::int64_t expected = d == table.axes.quantize ? size / table.group + (size % table.group != 0 ? 1 : 0) : size;
    if (found != expected && !(real && d != table.axes.quantize && found == 1)) {
      return bad_input(node, fmt::format("scales of shape {} for codes of shape {} in blocks of {} along axis {}", to_string(table.scales), to_string(table.shape), table.group, table.axes.quantize));
    }
  }
  return table;
}

// What every code is before its scale: as a number, its zero point taken off.
class Codes {
 public:
  static Result<Codes> open(const Node& node, const Tensor& data, const Tensor& zeros, const Table& table) {
    Codes codes;
    codes.data_ = &data;
    codes.bits_ = data.dtype() == DType::kU8 ? static_cast<int>(8 / table.per_element) : 0;
    codes.default_zero_ = codes.bits_ == 0 ? 0 : 1 << (codes.bits_ - 1);
    if (!zeros.defined()) return codes;
    Shape expected = table.scales;
    if (codes.bits_ != 0) expected.back() = encodings::packed_bytes(expected.back(), codes.bits_);
    if (contains(kRealCodes, data.dtype()) || zeros.dtype() != data.dtype() || zeros.shape() != expected) {
      return bad_input(node, fmt::format("zero_points are {}{}, expected {}{}", to_string(zeros.dtype()), to_string(zeros.shape()), to_string(data.dtype()), to_string(expected)));
    }
    codes.zeros_ = &zeros;
    codes.zero_row_ = codes.bits_ == 0 ? 0 : expected.back();
    codes.scale_row_ = table.scales.back();
    return codes;
  }

  float value(std::int64_t code, std::int64_t scale) const {
    const double v = bits_ == 0 ? data_->at_as_double(code) : encodings::read_code(data_->data<std::uint8_t>().data(), bits_, code);
    return static_cast<float>(v - zero(scale));
  }

 private:
  double zero(std::int64_t scale) const {
    if (zeros_ == nullptr) return default_zero_;
    if (bits_ == 0) return zeros_->at_as_double(scale);
    return encodings::read_code(zeros_->data<std::uint8_t>().data() + scale / scale_row_ * zero_row_, bits_, scale % scale_row_);  // each row starts a byte
  }

  const Tensor* data_ = nullptr;
  const Tensor* zeros_ = nullptr;
  int bits_ = 0, default_zero_ = 0;
  std::int64_t zero_row_ = 0, scale_row_ = 1;
};

Status run(const Node& node, RunContext& context) {
  const Tensor& data = context.input(kData);
  const Tensor& indices = context.input(kIndices);
  NARROW_TRY(const Table table, read_table(node, data, context.input(kScales)));
  NARROW_TRY(const Codes codes, Codes::open(node, data, context.input(kZeroPoints), table));
  NARROW_TRY(const FloatInput scales, FloatInput::open(context.input(kScales), "the scales"));
  if (!contains(kIndexTypes, indices.dtype())) return dtype_error(node, indices.dtype());
  const std::vector<std::int64_t> index = indices.to_int64();
  const std::size_t rank = table.shape.size(), axis = static_cast<std::size_t>(table.axes.gather);
  Shape shape(table.shape.begin(), table.shape.begin() + table.axes.gather);
  shape.insert(shape.end(), indices.shape().begin(), indices.shape().end());
  shape.insert(shape.end(), table.shape.begin() + table.axes.gather + 1, table.shape.end());
  NARROW_TRY(FloatOutput y, FloatOutput::create(context, 0, context.input(kScales).dtype(), shape));
  if (y.size() == 0) return {};
  const std::vector<std::int64_t> strides = strides_of(table.shape), scale_strides = strides_of(table.scales);
  const std::int64_t count = static_cast<std::int64_t>(index.size()), inner = strides[axis], size = table.shape[axis];
  parallel_ranges(context.pool(), y.size() / inner, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slice = begin; slice < end; ++slice) {
      float* out = y.data() + slice * inner;
      std::int64_t at = index[static_cast<std::size_t>(slice % count)];
      if (at < 0) at += size;
      if (at < 0 || at >= size) {  // ONNX Runtime's answer to an index beyond the table
        std::fill_n(out, inner, 0.0f);
        continue;
      }
      const std::int64_t first = (slice / count * size + at) * inner;
      for (std::int64_t i = 0; i < inner; ++i) {
        std::int64_t rest = first + i, scale = 0;
        for (std::size_t d = 0; d < rank; ++d) {
          std::int64_t place = rest / strides[d];
          rest %= strides[d];
          if (static_cast<int>(d) == table.axes.quantize) place /= table.group;
          if (table.scales[d] != 1) scale += place * scale_strides[d];
        }
        out[i] = codes.value(first + i, scale) * scales.data()[scale];
      }
    }
  }, inner * 8);
  y.store();
  return {};
}

const std::array kOperators = {
    Operator{.name = "GatherBlockQuantized", .domain = "com.microsoft", .min_inputs = 3, .max_inputs = 4, .infer = infer, .run = run},
};

}  // namespace

std::span<const Operator> gather_quantized_operators() { return kOperators; }

}  // namespace narrow::operators
