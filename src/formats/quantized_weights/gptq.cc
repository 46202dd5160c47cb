// GPTQ as AutoGPTQ and GPTQModel write it: words run down the inputs, columns are outputs.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "encodings/packed_codes.h"
#include "formats/quantized_weights/layouts.h"

namespace narrow::formats {
namespace {

using encodings::GroupedMatrix;
using encodings::ScaleType;

// Version 1 stores a zero point less one, so it has no code for 0.
template <int kVersion>
constexpr int kZeroBias = kVersion == 1 ? 1 : 0;

Status check(const WeightShape& s) {
  if (s.columns % 32 != 0 || s.rows % 32 != 0) {
    return unsupported(fmt::format("a weight of {} outputs and {} inputs; GPTQ packs multiples of 32", s.rows, s.columns)).hint("Leave this layer in float, or write pack-quantized.");
  }
  if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8) return unsupported(fmt::format("GPTQ with {} bits", s.bits)).hint("Its readers know 2, 3, 4 and 8.");
  if (s.scale_type == ScaleType::kF32) return unsupported("scales in f32; GPTQ keeps them in f16 or bf16").hint("Quantize with scales in f16.");
  return {};
}

std::vector<TensorSpec> specs(const WeightShape& s) {
  const std::int64_t groups = base::ceil_div(s.columns, s.group_size);
  return {{"qweight", DType::kS32, {s.columns * s.bits / 32, s.rows}}, {"qzeros", DType::kS32, {groups, s.rows * s.bits / 32}},
          {"scales", dtype_of(s.scale_type), {groups, s.rows}}, {"g_idx", DType::kS32, {s.columns}}};
}

template <int kVersion>
Result<Tensor> pack_zeros(const GroupedMatrix& m) {
  const std::int64_t groups = m.groups(), row_bytes = m.rows * m.bits / 8;
  NARROW_TRY(Tensor tensor, Tensor::create(DType::kS32, {groups, m.rows * m.bits / 32}));
  auto* out = static_cast<std::uint8_t*>(tensor.mutable_raw());
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t n = 0; n < m.rows; ++n) {
      const int zero = m.zero(n, g) - kZeroBias<kVersion>;
      if (zero < 0 || zero >= 1 << m.bits) {
        return unsupported(fmt::format("output {} has the zero point {} in group {}, which GPTQ version {} has no code for", n, m.zero(n, g), g, kVersion))
            .hint("Write gptq_v2, or quantize symmetrically.");
      }
      encodings::write_code(out + g * row_bytes, m.bits, n, zero);
    }
  }
  return tensor;
}

template <int kVersion>
Result<std::vector<WeightTensor>> pack(const OrderedMatrix& weight, base::ThreadPool* pool) {
  const GroupedMatrix& m = weight.matrix;
  NARROW_RETURN_IF_ERROR(check(shape_of(m)));
  const std::int64_t words = m.columns * m.bits / 32;
  NARROW_TRY(Tensor zeros, pack_zeros<kVersion>(m));
  NARROW_TRY(Tensor codes, Tensor::create(DType::kS32, {words, m.rows}));
  const std::uint8_t* from = m.codes.data();
  std::vector<std::uint8_t> natural;
  if (!weight.order.empty()) {  // the file keeps the inputs' own order, g_idx says which group each is in
    natural.resize(m.codes.size());
    in_parts(m.rows, 16, pool, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) scatter_codes(m.codes.data() + n * m.row_bytes(), m.bits, weight.order, natural.data() + n * m.row_bytes());
    });
    from = natural.data();
  }
  // A column's codes in order are a row's bits in order: only whole words change places.
  transpose_words(from, m.rows, words, m.row_bytes(), static_cast<std::uint32_t*>(codes.mutable_raw()), pool);
  return std::vector<WeightTensor>{{"qweight", std::move(codes)}, {"qzeros", std::move(zeros)}, {"scales", scales_tensor(m, true)}, {"g_idx", group_index(weight)}};
}

template <int kVersion>
Result<OrderedMatrix> unpack(const WeightShape& given, const WeightSource& source, base::ThreadPool* pool) {
  NARROW_TRY(const Tensor codes, need_tensor(source, "qweight", {DType::kS32, DType::kU32}, 2));
  NARROW_TRY(const Tensor zeros, need_tensor(source, "qzeros", {DType::kS32, DType::kU32}, 2));
  NARROW_TRY(const Tensor scales, need_tensor(source, "scales", {DType::kF16, DType::kBF16, DType::kF32}, 2));
  WeightShape shape = given;
  const std::int64_t words = codes.shape()[0];
  if (given.bits <= 0 || words > std::numeric_limits<std::int32_t>::max() || words * 32 % given.bits != 0) {
    return corrupt(fmt::format("'qweight' has shape {}, which does not hold codes of {} bits", to_string(codes.shape()), given.bits));
  }
  shape.columns = words * 32 / given.bits;
  shape.rows = codes.shape()[1];
  NARROW_TRY(shape.scale_type, scale_type_of(scales.dtype()));
  OrderedMatrix weight;
  NARROW_TRY(weight.matrix, make_matrix(shape));
  GroupedMatrix& m = weight.matrix;
  const std::int64_t groups = m.groups();
  if (m.rows * m.bits % 32 != 0) return corrupt(fmt::format("'qweight' has {} outputs, which do not fill words of 'qzeros'", m.rows));
  NARROW_RETURN_IF_ERROR(expect_shape(zeros, "qzeros", {groups, m.rows * m.bits / 32}));
  NARROW_RETURN_IF_ERROR(expect_shape(scales, "scales", {groups, m.rows}));
  NARROW_TRY(const std::optional<Tensor> index, source("g_idx"));
  if (index) {
    NARROW_TRY(const Tensor checked, need_tensor(source, "g_idx", {DType::kS32}, 1));
    NARROW_RETURN_IF_ERROR(expect_shape(checked, "g_idx", {m.columns}));
    NARROW_TRY(weight.order, order_of(checked, m.group_size, "g_idx"));
  }

  std::vector<std::uint8_t> natural(weight.order.empty() ? 0 : m.codes.size());
  transpose_words_back(static_cast<const std::uint32_t*>(codes.raw()), m.rows, words, natural.empty() ? m.codes.data() : natural.data(), m.row_bytes(), pool);
  if (!natural.empty()) {
    in_parts(m.rows, 16, pool, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t n = first; n < last; ++n) gather_codes(natural.data() + n * m.row_bytes(), m.bits, weight.order, m.codes.data() + n * m.row_bytes());
    });
  }
  NARROW_TRY(const std::vector<float> by_group, read_scales(scales, "scales"));
  m.scales.resize(by_group.size());
  m.zeros.resize(by_group.size());
  bool symmetric = true;
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto* fields = static_cast<const std::uint8_t*>(zeros.raw()) + g * m.rows * m.bits / 8;
    for (std::int64_t n = 0; n < m.rows; ++n) {
      const int zero = encodings::read_code(fields, m.bits, n) + kZeroBias<kVersion>;
      if (zero >= 1 << m.bits) {
        return unsupported(fmt::format("'qzeros' has {} for output {} in group {}: its writers mean 0 by it, its readers {}", zero - 1, n, g, zero))
            .hint("If the file was written as gptq_v2, say so in its checkpoint_format.");
      }
      symmetric = symmetric && zero == 1 << (m.bits - 1);
      m.zeros[static_cast<std::size_t>(n * groups + g)] = static_cast<std::uint8_t>(zero);
      m.scales[static_cast<std::size_t>(n * groups + g)] = by_group[static_cast<std::size_t>(g * m.rows + n)];
    }
  }
  if (symmetric) m.zeros.clear();
  return weight;
}

}  // namespace

const WeightLayout kGptq = {"gptq", check, specs, pack<1>, unpack<1>};
const WeightLayout kGptqV2 = {"gptq_v2", check, specs, pack<2>, unpack<2>};

}  // namespace narrow::formats
