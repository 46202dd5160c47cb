// Unsigned codes of 1, 2, 4 or 8 bits packed without gaps, the first in the lowest bits of the first byte.
#pragma once

#include <cstdint>

namespace narrow::encodings {

// Bytes that `count` codes take.
constexpr std::int64_t packed_bytes(std::int64_t count, int bits) { return (count * bits + 7) / 8; }

constexpr int read_code(const std::uint8_t* bytes, int bits, std::int64_t index) {
  const std::int64_t at = index * bits;
  return bytes[at / 8] >> (at % 8) & ((1 << bits) - 1);
}

}  // namespace narrow::encodings
