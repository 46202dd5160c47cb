#include "quantizers/weight_only/blocked.h"

#include <algorithm>
#include <numeric>

#include "encodings/packed_codes.h"

namespace narrow::quantizers {

std::int64_t block_of(const encodings::GroupedMatrix& matrix) {
  const std::int64_t group = matrix.group_size >= matrix.columns ? matrix.columns : matrix.group_size;
  const std::int64_t block = std::min<std::int64_t>(group & -group, 1 << 10);
  return block >= 16 ? block : 0;
}

BlockedTensors to_matmul_nbits(const encodings::GroupedMatrix& matrix) {
  BlockedTensors out;
  out.block = block_of(matrix);
  out.bits = matrix.bits == 3 ? 4 : matrix.bits;
  const std::int64_t blocks = (matrix.columns + out.block - 1) / out.block;
  const std::int64_t bytes = out.block * out.bits / 8, zero_bytes = encodings::packed_bytes(blocks, out.bits);
  out.codes = *Tensor::create(DType::kU8, {matrix.rows, blocks, bytes});
  out.scales = *Tensor::create(DType::kF32, {matrix.rows * blocks});
  if (!matrix.symmetric() || out.bits != matrix.bits) out.zeros = *Tensor::create(DType::kU8, {matrix.rows * zero_bytes});
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    const std::uint8_t* from = matrix.codes.data() + r * matrix.row_bytes();
    std::uint8_t* to = out.codes.mutable_data<std::uint8_t>().data() + r * blocks * bytes;
    if (out.bits == matrix.bits) std::copy_n(from, matrix.row_bytes(), to);
    else for (std::int64_t k = 0; k < matrix.columns; ++k) encodings::write_code(to, out.bits, k, encodings::read_code(from, matrix.bits, k));
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t group = b * out.block / matrix.group_size;
      out.scales.mutable_data<float>()[static_cast<std::size_t>(r * blocks + b)] = matrix.scales[static_cast<std::size_t>(r * matrix.groups() + group)];
      if (out.zeros.defined()) encodings::write_code(out.zeros.mutable_data<std::uint8_t>().data() + r * zero_bytes, out.bits, b, matrix.zero(r, group));
    }
  }
  return out;
}

BlockedTensors to_dequantize_linear(const encodings::GroupedMatrix& matrix) {
  BlockedTensors out;
  // OpenVINO wants blocks that divide the columns.
  out.block = std::gcd(block_of(matrix), matrix.columns);
  if (out.block < 16) out.block = block_of(matrix);
  out.bits = matrix.bits <= 4 ? 4 : 8;
  const DType dtype = out.bits == 4 ? DType::kU4 : DType::kU8;
  const std::int64_t blocks = (matrix.columns + out.block - 1) / out.block, n = matrix.rows;
  out.codes = *Tensor::create(dtype, {matrix.columns, n});
  out.scales = *Tensor::create(DType::kF32, {blocks, n});
  out.zeros = *Tensor::create(dtype, {blocks, n});
  auto* codes = static_cast<std::uint8_t*>(out.codes.mutable_raw());
  auto* zeros = static_cast<std::uint8_t*>(out.zeros.mutable_raw());
  for (std::int64_t r = 0; r < n; ++r) {
    const std::uint8_t* from = matrix.codes.data() + r * matrix.row_bytes();
    for (std::int64_t k = 0; k < matrix.columns; ++k) encodings::write_code(codes, out.bits, k * n + r, encodings::read_code(from, matrix.bits, k));
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t group = b * out.block / matrix.group_size;
      out.scales.mutable_data<float>()[static_cast<std::size_t>(b * n + r)] = matrix.scales[static_cast<std::size_t>(r * matrix.groups() + group)];
      encodings::write_code(zeros, out.bits, b * n + r, matrix.zero(r, group));
    }
  }
  return out;
}

}  // namespace narrow::quantizers
