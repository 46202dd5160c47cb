#include "quantizers/matrix/codebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "encodings/bnb4.h"
#include "quantizers/matrix/checks.h"

namespace narrow::quantizers {
namespace {

using encodings::CodebookMatrix;

constexpr std::int64_t kNestedBlock = 256;

// The codes of a codebook by rising value, and what lies half way between neighbours.
struct Codebook {
  std::array<std::uint8_t, 16> order;
  std::array<float, 15> bounds;
};
Codebook make_codebook(const float* values) {
  Codebook book;
  for (std::size_t i = 0; i < 16; ++i) book.order[i] = static_cast<std::uint8_t>(i);
  std::stable_sort(book.order.begin(), book.order.end(), [&](int a, int b) { return values[a] < values[b]; });
  for (std::size_t i = 0; i < 15; ++i) book.bounds[i] = (values[book.order[i]] + values[book.order[i + 1]]) / 2;
  return book;
}

float largest(const float* values, std::int64_t count) {
  float most = 0;
  for (std::int64_t i = 0; i < count; ++i) most = std::max(most, std::abs(values[i]));
  return most;
}

// absmax in 8 bits, relative to its mean; absmax then holds what a reader will find.
CodebookMatrix::Nested nest(std::vector<float>& absmax) {
  CodebookMatrix::Nested nested;
  const auto count = static_cast<std::int64_t>(absmax.size());
  double sum = 0;
  for (float a : absmax) sum += a;
  nested.offset = static_cast<float>(sum / static_cast<double>(count));
  nested.codes.resize(absmax.size());
  const auto map = encodings::dynamic_map();
  for (std::int64_t first = 0; first < count; first += kNestedBlock) {
    const std::int64_t size = std::min(kNestedBlock, count - first);
    float off[kNestedBlock];
    for (std::int64_t i = 0; i < size; ++i) off[i] = absmax[static_cast<std::size_t>(first + i)] - nested.offset;
    const float most = largest(off, size);
    nested.absmax.push_back(most);
    for (std::int64_t i = 0; i < size; ++i) {
      const float value = most > 0 ? off[i] / most : 0;
      // The nearest; the lower of two equally near.
      auto code = static_cast<std::size_t>(std::upper_bound(map.begin() + 1, map.end(), value) - map.begin() - 1);
      if (code < 255 && std::abs(map[code + 1] - value) < std::abs(value - map[code])) ++code;
      nested.codes[static_cast<std::size_t>(first + i)] = static_cast<std::uint8_t>(code);
      absmax[static_cast<std::size_t>(first + i)] = map[code] * most + nested.offset;
    }
  }
  return nested;
}

}  // namespace

Result<CodebookMatrix> quantize_codebook(std::span<const float> weight, std::int64_t rows, std::int64_t columns, const CodebookOptions& options,
                                         base::ThreadPool& pool) {
  if (options.block < 32 || options.block > 4096 || !std::has_single_bit(static_cast<std::uint64_t>(options.block))) {
    return invalid_argument(fmt::format("blocks of {} weights: expected a power of two from 32 to 4096", options.block));
  }
  NARROW_RETURN_IF_ERROR(check_weight(weight, rows, columns));
  CodebookMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.block = options.block;
  matrix.type = options.type;
  const std::int64_t count = rows * columns, blocks = matrix.blocks();
  matrix.codes.resize(static_cast<std::size_t>((count + 1) / 2));
  matrix.absmax.resize(static_cast<std::size_t>(blocks));
  const Codebook book = make_codebook(options.type == CodebookMatrix::Type::kNf4 ? encodings::kNf4Values : encodings::kFp4Values);
  const auto code_of = [&](float value) {
    int at = 0;
    for (float bound : book.bounds) at += bound < value;
    return book.order[static_cast<std::size_t>(at)];
  };
  // Blocks are even, so no two share a byte.
  pool.parallel_for(static_cast<std::size_t>(blocks), [&](std::size_t block, int) {
    const std::int64_t first = static_cast<std::int64_t>(block) * options.block, size = std::min(options.block, count - first);
    const float* from = weight.data() + first;
    const float most = largest(from, size);
    matrix.absmax[block] = most;
    const float limited = std::max(most, 1e-38f), inverse = 1 / limited;
    const bool partial = size < options.block;  // bitsandbytes divides here and multiplies elsewhere
    for (std::int64_t i = 0; i < size; i += 2) {
      const auto scaled = [&](std::int64_t at) { return at >= size ? 0.0f : std::clamp(partial ? from[at] / limited : from[at] * inverse, -1.0f, 1.0f); };
      matrix.codes[static_cast<std::size_t>((first + i) / 2)] = static_cast<std::uint8_t>(code_of(scaled(i)) << 4 | code_of(scaled(i + 1)));
    }
  });
  if (options.double_quantization) matrix.nested.push_back(nest(matrix.absmax));
  return matrix;
}

Result<encodings::GroupedMatrix> quantize_int8_rows(std::span<const float> weight, std::int64_t rows, std::int64_t columns) {
  NARROW_RETURN_IF_ERROR(check_weight(weight, rows, columns));
  encodings::GroupedMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.bits = 8;
  matrix.group_size = columns;
  matrix.scale_type = encodings::ScaleType::kF32;
  matrix.codes.resize(weight.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* from = weight.data() + row * columns;
    const float most = largest(from, columns);
    // A row too small for its scale to be positive is all zeros.
    const float scale = most / 127;
    matrix.scales.push_back(scale > 0 ? scale : 1.0f);
    for (std::int64_t k = 0; k < columns; ++k) {
      const float steps = scale > 0 ? std::nearbyint(from[k] * (127 / most)) : 0;
      matrix.codes[static_cast<std::size_t>(row * columns + k)] = static_cast<std::uint8_t>(static_cast<int>(std::clamp(steps, -127.0f, 127.0f)) + 128);
    }
  }
  return matrix;
}

}  // namespace narrow::quantizers
