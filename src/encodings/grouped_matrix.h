// A weight matrix of few bits, as every method makes it and every checkpoint format stores it in its own order.
#pragma once

#include <cstdint>
#include <vector>

#include "encodings/packed_codes.h"

namespace narrow::encodings {

// What the scales are stored as: they are rounded to it before codes are chosen, so that a file loses nothing.
enum class ScaleType : std::uint8_t { kF32, kF16, kBF16 };

// weight[n, k] = (code[n, k] - zero[n, g]) * scale[n, g] with g = k / group_size: [rows, columns] as torch keeps the weight of
// a Linear, groups along a row.
struct GroupedMatrix {
  std::int64_t rows = 0, columns = 0;
  int bits = 4;                          // 2, 3, 4 or 8
  std::int64_t group_size = 128;         // columns; the last group of a row may be shorter. `columns` is one scale a row
  ScaleType scale_type = ScaleType::kF16;
  std::vector<std::uint8_t> codes;       // [rows, row_bytes()]: packed_codes.h within a row, rows start on a byte
  std::vector<float> scales;             // [rows, groups()], > 0 and finite
  std::vector<std::uint8_t> zeros;       // [rows, groups()]; empty: 2^(bits-1) everywhere (symmetric)

  std::int64_t groups() const { return (columns + group_size - 1) / group_size; }
  std::int64_t row_bytes() const { return packed_bytes(columns, bits); }
  bool symmetric() const { return zeros.empty(); }
  int zero(std::int64_t row, std::int64_t group) const {
    return zeros.empty() ? 1 << (bits - 1) : zeros[static_cast<std::size_t>(row * groups() + group)];
  }
};

// Rows [first, first + count) as f32, [count, columns].
void dequantize_rows(const GroupedMatrix& matrix, std::int64_t first, std::int64_t count, float* out);

// NF4 or FP4 (bitsandbytes): blocks run over the rows one after another, the first code in the high nibble.
struct CodebookMatrix {
  enum class Type : std::uint8_t { kNf4, kFp4 };

  std::int64_t rows = 0, columns = 0, block = 64;
  Type type = Type::kNf4;
  std::vector<std::uint8_t> codes;       // [ceil(rows * columns / 2)]
  std::vector<float> absmax;             // [blocks()]; with double quantization, what `nested` gives back
  // Double quantization of absmax: absmax[i] = map(codes[i]) * absmax[i / 256] + offset.
  struct Nested {
    std::vector<std::uint8_t> codes;     // [blocks()]
    std::vector<float> absmax;           // [ceil(blocks() / 256)]
    float offset = 0;
  };
  std::vector<Nested> nested;            // none or one

  std::int64_t blocks() const { return (rows * columns + block - 1) / block; }
};

void dequantize_rows(const CodebookMatrix& matrix, std::int64_t first, std::int64_t count, float* out);

}  // namespace narrow::encodings
