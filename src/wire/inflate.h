// DEFLATE (RFC 1951) and gzip (RFC 1952) data, unpacked into memory with a stated limit.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "narrow/result.h"

namespace narrow::wire {

using ByteSpan = std::span<const std::uint8_t>;

// DEFLATE cannot expand further than this, so a larger claim is a lie that needs no unpacking to be refused.
inline constexpr std::uint64_t kMaxDeflateRatio = 1032;

// Raw DEFLATE data that must unpack to exactly `size` bytes. Errors: corrupt; resource_exhausted.
Result<std::vector<std::uint8_t>> inflate_raw(ByteSpan packed, std::uint64_t size, const std::string& where);

// A gzip file (members may follow one another), checksums verified. Errors: corrupt; resource_exhausted when more than
// `limit` bytes would come out.
Result<std::vector<std::uint8_t>> gunzip(ByteSpan packed, std::uint64_t limit, const std::string& where);

bool is_gzip(ByteSpan bytes);

std::uint32_t crc32_of(ByteSpan bytes);

}  // namespace narrow::wire
