// What tokenizers ask of characters, and UTF-8. Which editions of Unicode the properties follow, and why, is told in
// tools/make_unicode_tables.py.
#pragma once

#include <string>
#include <string_view>

namespace narrow::tokenizers {

// Malformed UTF-8 becomes U+FFFD, one for each longest prefix of a character, as Python's errors="replace" does.
std::u32string decode_utf8(std::string_view text);
// Each byte that is no part of a character becomes kMalformedByte, which is none either.
inline constexpr char32_t kMalformedByte = 0x110000;
std::u32string decode_utf8_bytewise(std::string_view text);
void append_utf8(char32_t c, std::string& out);  // precondition: a Unicode scalar value
std::string encode_utf8(std::u32string_view text);

bool is_white_space(char32_t c);       // property White_Space
bool is_other(char32_t c);             // categories Cc, Cf, Co
bool is_mark(char32_t c);              // categories M*
bool is_mark_nonspacing(char32_t c);   // category Mn
bool is_punctuation(char32_t c);       // categories P*, and the ASCII symbols that count as such ($ + < = > ^ ` | ~)
bool is_number(char32_t c);            // categories N*
bool is_word(char32_t c);              // a regular expression's \w
int script(char32_t c);                // equal numbers, equal scripts, Kana counting as Han; 0 for a blank and what has none
bool is_chinese(char32_t c);           // the blocks of CJK ideographs that BERT's tokenizer names

void append_lower(char32_t c, std::u32string& out);  // the character's own lower case, whatever stands beside it
void decompose(std::u32string& text);                // normalization form D, in place
void decompose_compatible(std::u32string& text);     // form KD
void compose(std::u32string& text);                  // form D to form C, KD to KC

}  // namespace narrow::tokenizers
