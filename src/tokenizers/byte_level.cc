#include "tokenizers/byte_level.h"

#include <array>

#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

constexpr bool is_printed(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr char32_t kFirstOther = 0x100;
constexpr std::size_t kOthers = 68;  // bytes that are not printed

struct ByteCharacters {
  std::array<char32_t, 256> of_byte{};
  std::array<unsigned char, kOthers> others{};

  constexpr ByteCharacters() {
    std::size_t count = 0;
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (!is_printed(byte)) others[count] = static_cast<unsigned char>(byte);
      of_byte[byte] = is_printed(byte) ? byte : kFirstOther + static_cast<char32_t>(count++);
    }
  }
};

constexpr ByteCharacters kCharacters;

}  // namespace

void append_byte_characters(std::u32string_view text, std::u32string& out) {
  std::string bytes;
  for (const char32_t c : text) {
    if (c < 0x80) {
      out.push_back(kCharacters.of_byte[c]);
      continue;
    }
    bytes.clear();
    append_utf8(c, bytes);
    for (const char byte : bytes) out.push_back(kCharacters.of_byte[static_cast<unsigned char>(byte)]);
  }
}

std::optional<unsigned char> byte_of_character(char32_t c) {
  if (c < 0x100) return is_printed(c) ? std::optional(static_cast<unsigned char>(c)) : std::nullopt;
  if (c < kFirstOther + kOthers) return kCharacters.others[c - kFirstOther];
  return std::nullopt;
}

}  // namespace narrow::tokenizers
