// Bytes written as printable characters, so that any bytes are text: the ones that Latin-1 prints stand for themselves,
// the others for U+0100, U+0101, … in their order ("Ġ" is the blank).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace narrow::tokenizers {

// The UTF-8 bytes of `text`, each as its character.
void append_byte_characters(std::u32string_view text, std::u32string& out);
// The byte that a character stands for.
std::optional<unsigned char> byte_of_character(char32_t c);

}  // namespace narrow::tokenizers
