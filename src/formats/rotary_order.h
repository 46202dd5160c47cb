// Two orders of the rows of a query or key projection. Hugging Face rotates the halves of a head against each other;
// llama2.c, GGUF's "llama" and Meta's own checkpoints rotate neighbours, so their rows lie interleaved.
#pragma once

#include <cstdint>

namespace narrow::formats {

// Where the row that Hugging Face keeps at `row` lies in the interleaved order. `head` rows a head, even.
constexpr std::int64_t interleaved_row(std::int64_t row, std::int64_t head) {
  const std::int64_t within = row % head, half = head / 2;
  return row - within + (within % half) * 2 + within / half;
}

// The inverse.
constexpr std::int64_t half_split_row(std::int64_t row, std::int64_t head) {
  const std::int64_t within = row % head, half = head / 2;
  return row - within + (within % 2) * half + within / 2;
}

}  // namespace narrow::formats
