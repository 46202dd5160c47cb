#include "encodings/grouped_matrix.h"

#include <algorithm>

#include "encodings/bnb4.h"

namespace narrow::encodings {

void dequantize_rows(const GroupedMatrix& matrix, std::int64_t first, std::int64_t count, float* out) {
  const std::int64_t groups = matrix.groups();
  for (std::int64_t row = first; row < first + count; ++row) {
    const std::uint8_t* codes = matrix.codes.data() + row * matrix.row_bytes();
    for (std::int64_t g = 0; g < groups; ++g) {
      const float scale = matrix.scales[static_cast<std::size_t>(row * groups + g)];
      const int zero = matrix.zero(row, g);
      const std::int64_t end = std::min(matrix.columns, (g + 1) * matrix.group_size);
      for (std::int64_t k = g * matrix.group_size; k < end; ++k) *out++ = static_cast<float>(read_code(codes, matrix.bits, k) - zero) * scale;
    }
  }
}

void dequantize_rows(const CodebookMatrix& matrix, std::int64_t first, std::int64_t count, float* out) {
  const float* values = matrix.type == CodebookMatrix::Type::kNf4 ? kNf4Values : kFp4Values;
  for (std::int64_t i = first * matrix.columns; i < (first + count) * matrix.columns; ++i) {
    const std::uint8_t pair = matrix.codes[static_cast<std::size_t>(i / 2)];
    *out++ = values[i % 2 == 0 ? pair >> 4 : pair & 15] * matrix.absmax[static_cast<std::size_t>(i / matrix.block)];
  }
}

}  // namespace narrow::encodings
