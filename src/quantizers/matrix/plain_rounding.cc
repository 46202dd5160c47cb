#include "quantizers/matrix/plain_rounding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/affine/affine.h"
#include "quantizers/matrix/checks.h"
#include "quantizers/matrix/grid.h"

namespace narrow::quantizers {
namespace {

// Codes of one byte each, n of them, to `bits` bits each, as packed_codes.h has them.
void pack(const std::uint8_t* codes, std::int64_t n, int bits, std::uint8_t* out) {
  std::int64_t i = 0;
  if (bits == 4) {
    for (; i + 8 <= n; i += 8) {
      std::uint64_t x;
      std::memcpy(&x, codes + i, 8);
      x = (x | x >> 4) & 0x00FF00FF00FF00FFu;
      x = (x | x >> 8) & 0x0000FFFF0000FFFFu;
      const auto packed = static_cast<std::uint32_t>(x | x >> 16);
      std::memcpy(out + i / 2, &packed, 4);
    }
  } else if (bits == 8) {
    std::memcpy(out, codes, static_cast<std::size_t>(n));
    return;
  }
  for (; i < n; ++i) encodings::write_code(out, bits, i, codes[i]);
}

}  // namespace

Result<MatrixResult> round_rows(const std::function<void(std::int64_t row, float* out)>& row, std::int64_t rows, std::int64_t columns, const MatrixOptions& options) {
  NARROW_RETURN_IF_ERROR(check_options(options));
  if (rows < 1 || columns < 1) return invalid_argument(fmt::format("a weight of [{},{}] has nothing to quantize", rows, columns));
  MatrixResult result;
  encodings::GroupedMatrix& matrix = result.matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.bits = options.bits;
  matrix.group_size = options.group_size == 0 ? columns : std::min(options.group_size, columns);
  matrix.scale_type = options.scale_type;
  const std::int64_t groups = matrix.groups();
  matrix.codes.resize(static_cast<std::size_t>(rows * matrix.row_bytes()));
  matrix.scales.resize(static_cast<std::size_t>(rows * groups));
  if (!options.symmetric) matrix.zeros.resize(matrix.scales.size());

  const GridOptions grid_options{options.bits, options.symmetric, options.scale_type};
  const kernels::AffineKernels& affine = kernels::affine_kernels();
  const auto top = static_cast<std::uint8_t>(grid_options.max_code());
  std::vector<float> weights(static_cast<std::size_t>(columns));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(columns));
  double error = 0, size = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    row(r, weights.data());
    double row_size = 0;
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t begin = g * matrix.group_size, n = std::min(matrix.group_size, columns - begin);
      const auto count = static_cast<std::size_t>(n);
      float low = 0, high = 0;
      affine.min_max(weights.data() + begin, count, &low, &high);
      const Grid grid = range_grid(std::min(low, 0.0f), std::max(high, 0.0f), grid_options);
      std::uint8_t* out = codes.data() + begin;
      affine.quantize_u8(weights.data() + begin, count, grid.scale, grid.zero, out);
      for (std::size_t i = 0; i < count; ++i) out[i] = out[i] < top ? out[i] : top;
      float own_error = 0, own_size = 0;
      affine.error_u8(weights.data() + begin, out, count, grid.scale, grid.zero, &own_error, &own_size);
      error += own_error;
      row_size += own_size;
      matrix.scales[static_cast<std::size_t>(r * groups + g)] = grid.scale;
      if (!options.symmetric) matrix.zeros[static_cast<std::size_t>(r * groups + g)] = static_cast<std::uint8_t>(grid.zero);
    }
    size += row_size;
    if (!std::isfinite(row_size)) NARROW_RETURN_IF_ERROR(check_finite(weights, columns, fmt::format("row {} of the weight", r)));
    pack(codes.data(), columns, options.bits, matrix.codes.data() + r * matrix.row_bytes());
  }
  result.error = result.rounding_error = size > 0 ? error / size : 0;
  return result;
}

}  // namespace narrow::quantizers
