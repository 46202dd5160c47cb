// AWQ as AutoAWQ's "gemm" version has it: rows are inputs, and eight outputs share a word, in an order of their own.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "encodings/packed_codes.h"
#include "formats/quantized_weights/layouts.h"

namespace narrow::formats {
namespace {

using encodings::GroupedMatrix;
using encodings::ScaleType;

constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // nibble i of a word holds output kOrder[i] of its eight

Status check(const WeightShape& s) {
  if (s.bits != 4) return unsupported(fmt::format("AWQ with {} bits", s.bits)).hint("AWQ's gemm version holds 4 bits: write gptq or pack-quantized for others.");
  if (s.rows % 8 != 0) return unsupported(fmt::format("a weight of {} outputs; AWQ packs eight to a word", s.rows)).hint("Leave this layer in float.");
  if (s.columns % 8 != 0 || s.columns % s.group_size != 0) {
    return unsupported(fmt::format("a weight of {} inputs in groups of {}; AWQ has whole groups", s.columns, s.group_size)).hint("Choose a group size that divides the inputs.");
  }
  if (s.scale_type != ScaleType::kF16) return unsupported("AWQ keeps scales in f16").hint("Quantize with scales in f16.");
  if (s.ordered) return unsupported("AWQ has no place for an order of the inputs").hint("Quantize without act_order, or with static groups.");
  return {};
}

std::vector<TensorSpec> specs(const WeightShape& s) {
  const std::int64_t groups = base::ceil_div(s.columns, s.group_size);
  return {{"qweight", DType::kS32, {s.columns, s.rows / 8}}, {"qzeros", DType::kS32, {groups, s.rows / 8}}, {"scales", DType::kF16, {groups, s.rows}}};
}

constexpr std::int64_t kOctets = 16;  // of outputs in a tile: their words fill a cache line
using Tile = std::uint32_t[8][kOctets];

template <int kDistance, int kShift, std::uint32_t kMask>
void exchange(Tile& w) {
  for (int i = 0; i < 8; ++i) {
    if ((i & kDistance) != 0) continue;
    for (int lane = 0; lane < kOctets; ++lane) {
      const std::uint32_t t = ((w[i][lane] >> kShift) ^ w[i + kDistance][lane]) & kMask;
      w[i + kDistance][lane] ^= t;
      w[i][lane] ^= t << kShift;
    }
  }
}

// In every lane nibble j of word i becomes nibble i of word j.
void transpose_nibbles(Tile& w) {
  exchange<4, 16, 0x0000FFFF>(w);
  exchange<2, 8, 0x00FF00FF>(w);
  exchange<1, 4, 0x0F0F0F0F>(w);
}

// Between rows of outputs (eight inputs a word) and the file's rows of inputs (eight outputs a word).
template <bool kPack>
void move(std::uint8_t* rows, std::int64_t row_bytes, std::int64_t outputs, std::int64_t inputs, std::uint32_t* file, base::ThreadPool* pool) {
  const std::int64_t octets = outputs / 8;
  in_parts(base::ceil_div(octets, kOctets), 1, pool, [&](std::int64_t first, std::int64_t last) {
    Tile words = {};
    for (std::int64_t tile = first; tile < last; ++tile) {
      const std::int64_t c = tile * kOctets, lanes = std::min(octets - c, kOctets);
      for (std::int64_t k = 0; k < inputs / 8; ++k) {
        for (int i = 0; i < 8; ++i) {
          if (!kPack) {
            std::memcpy(words[i], file + (8 * k + i) * octets + c, static_cast<std::size_t>(lanes) * 4);
            continue;
          }
          const std::uint8_t* from = rows + (8 * c + kOrder[i]) * row_bytes + 4 * k;
          for (std::int64_t lane = 0; lane < lanes; ++lane) std::memcpy(&words[i][lane], from + lane * 8 * row_bytes, 4);
        }
        transpose_nibbles(words);
        for (int i = 0; i < 8; ++i) {
          if (kPack) {
            std::memcpy(file + (8 * k + i) * octets + c, words[i], static_cast<std::size_t>(lanes) * 4);
            continue;
          }
          std::uint8_t* to = rows + (8 * c + kOrder[i]) * row_bytes + 4 * k;
          for (std::int64_t lane = 0; lane < lanes; ++lane) std::memcpy(to + lane * 8 * row_bytes, &words[i][lane], 4);
        }
      }
    }
  });
}

Result<std::vector<WeightTensor>> pack(const OrderedMatrix& weight, base::ThreadPool* pool) {
  const GroupedMatrix& m = weight.matrix;
  WeightShape shape = shape_of(m);
  shape.ordered = !weight.order.empty();
  NARROW_RETURN_IF_ERROR(check(shape));
  const std::int64_t groups = m.groups(), octets = m.rows / 8;
  NARROW_TRY(Tensor codes, Tensor::create(DType::kS32, {m.columns, octets}));
  move<true>(const_cast<std::uint8_t*>(m.codes.data()), m.row_bytes(), m.rows, m.columns, static_cast<std::uint32_t*>(codes.mutable_raw()), pool);
  NARROW_TRY(Tensor zeros, Tensor::create(DType::kS32, {groups, octets}));
  auto* out = static_cast<std::uint32_t*>(zeros.mutable_raw());
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t c = 0; c < octets; ++c) {
      std::uint32_t word = 0;
      for (int i = 0; i < 8; ++i) word |= static_cast<std::uint32_t>(m.zero(8 * c + kOrder[i], g)) << (4 * i);
      out[g * octets + c] = word;
    }
  }
  return std::vector<WeightTensor>{{"qweight", std::move(codes)}, {"qzeros", std::move(zeros)}, {"scales", scales_tensor(m, true)}};
}

Result<OrderedMatrix> unpack(const WeightShape& given, const WeightSource& source, base::ThreadPool* pool) {
  NARROW_TRY(const Tensor codes, need_tensor(source, "qweight", {DType::kS32, DType::kU32}, 2));
  NARROW_TRY(const Tensor zeros, need_tensor(source, "qzeros", {DType::kS32, DType::kU32}, 2));
  NARROW_TRY(const Tensor scales, need_tensor(source, "scales", {DType::kF16, DType::kBF16, DType::kF32}, 2));
  if (given.bits != 4) return unsupported(fmt::format("AWQ with {} bits", given.bits)).hint("AWQ's gemm version holds 4 bits.");
  WeightShape shape = given;
  shape.columns = codes.shape()[0];
  const std::int64_t octets = codes.shape()[1];
  if (octets > std::numeric_limits<std::int32_t>::max() || shape.columns % 8 != 0) return corrupt(fmt::format("'qweight' has shape {}", to_string(codes.shape())));
  shape.rows = octets * 8;
  NARROW_TRY(shape.scale_type, scale_type_of(scales.dtype()));
  OrderedMatrix weight;
  NARROW_TRY(weight.matrix, make_matrix(shape));
  GroupedMatrix& m = weight.matrix;
  const std::int64_t groups = m.groups();
  NARROW_RETURN_IF_ERROR(expect_shape(zeros, "qzeros", {groups, octets}));
  NARROW_RETURN_IF_ERROR(expect_shape(scales, "scales", {groups, m.rows}));
  move<false>(m.codes.data(), m.row_bytes(), m.rows, m.columns, static_cast<std::uint32_t*>(const_cast<void*>(codes.raw())), pool);
  NARROW_TRY(const std::vector<float> by_group, read_scales(scales, "scales"));
  m.scales.resize(by_group.size());
  m.zeros.resize(by_group.size());
  bool symmetric = true;
  const auto* words = static_cast<const std::uint32_t*>(zeros.raw());
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t n = 0; n < m.rows; ++n) m.scales[static_cast<std::size_t>(n * groups + g)] = by_group[static_cast<std::size_t>(g * m.rows + n)];
    for (std::int64_t c = 0; c < octets; ++c) {
      for (int i = 0; i < 8; ++i) {
        const std::uint32_t zero = words[g * octets + c] >> (4 * i) & 15;
        symmetric = symmetric && zero == 8;
        m.zeros[static_cast<std::size_t>((8 * c + kOrder[i]) * groups + g)] = static_cast<std::uint8_t>(zero);
      }
    }
  }
  if (symmetric) m.zeros.clear();
  return weight;
}

}  // namespace

const WeightLayout kAwq = {"awq", check, specs, pack, unpack};

}  // namespace narrow::formats
