// A matrix of few bits as the tensors of ONNX's operators.
#pragma once

#include "encodings/grouped_matrix.h"
#include "tensor/tensor.h"

namespace narrow::quantizers {

struct BlockedTensors {
  Tensor codes, scales, zeros;
  std::int64_t block = 0;
  int bits = 4;                  // 3 bits are stored as 4
};

// The largest power of two, from 16 on, that divides the group: what ONNX allows as a block; 0 when there is none.
std::int64_t block_of(const encodings::GroupedMatrix& matrix);

// com.microsoft.MatMulNBits: codes u8 [rows, blocks, block · bits / 8], scales f32 [rows · blocks], zeros u8 packed a row, undefined
// where they are what the operator takes for granted. Precondition for both: block_of() is not 0.
BlockedTensors to_matmul_nbits(const encodings::GroupedMatrix& matrix);

// DequantizeLinear along axis 0, in blocks that divide the columns where there are such, of [columns, rows]: codes u4 or u8, scales f32 [blocks, rows], zeros like the codes.
BlockedTensors to_dequantize_linear(const encodings::GroupedMatrix& matrix);

}  // namespace narrow::quantizers
