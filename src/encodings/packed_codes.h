// Unsigned codes of 1 to 8 bits packed without gaps, the first in the lowest bits of the first byte.
#pragma once

#include <cstdint>

namespace narrow::encodings {

// Bytes that `count` codes take.
constexpr std::int64_t packed_bytes(std::int64_t count, int bits) { return (count * bits + 7) / 8; }

// A code may lie in two bytes when 8 is not a multiple of `bits`.
constexpr int read_code(const std::uint8_t* bytes, int bits, std::int64_t index) {
  const std::int64_t at = index * bits;
  const int shift = static_cast<int>(at % 8);
  int found = bytes[at / 8] >> shift;
  if (shift + bits > 8) found |= bytes[at / 8 + 1] << (8 - shift);
  return found & ((1 << bits) - 1);
}

// Precondition: the code's bits are zero so far.
constexpr void write_code(std::uint8_t* bytes, int bits, std::int64_t index, int code) {
  const std::int64_t at = index * bits;
  const int shift = static_cast<int>(at % 8);
  bytes[at / 8] = static_cast<std::uint8_t>(bytes[at / 8] | code << shift);
  if (shift + bits > 8) bytes[at / 8 + 1] = static_cast<std::uint8_t>(bytes[at / 8 + 1] | code >> (8 - shift));
}

}  // namespace narrow::encodings
