#include "tokenizers/unicode.h"

#include <gtest/gtest.h>

namespace narrow::tokenizers {
namespace {

std::u32string decomposed(std::u32string text) {
  decompose(text);
  return text;
}

std::u32string lower(char32_t c) {
  std::u32string out;
  append_lower(c, out);
  return out;
}

TEST(Unicode, Utf8ThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; c = c == 0xD7FF ? 0xE000 : c + 1) {
    const std::string bytes = encode_utf8(std::u32string(1, c));
    ASSERT_EQ(decode_utf8(bytes), std::u32string(1, c)) << static_cast<std::uint32_t>(c);
  }
}

// The expectations are those of Python's bytes.decode("utf-8", "replace").
TEST(Unicode, MalformedUtf8BecomesReplacements) {
  EXPECT_EQ(decode_utf8("a\x80z"), U"a\uFFFDz");
  EXPECT_EQ(decode_utf8("\xC0\x80"), U"\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(decode_utf8("\xED\xA0\x80"), U"\uFFFD\uFFFD\uFFFD");  // surrogate
  EXPECT_EQ(decode_utf8("\xF4\x90\x80\x80"), U"\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode_utf8("\xE2\x82z\xF0\x9F\x98"), U"\uFFFDz\uFFFD");  // cut short: one each
  EXPECT_EQ(decode_utf8("\xFF\xFE"), U"\uFFFD\uFFFD");
}

TEST(Unicode, Decomposition) {
  EXPECT_EQ(decomposed(U"\u00E9"), U"e\u0301");
  EXPECT_EQ(decomposed(U"\u1E69"), U"s\u0323\u0307");                // in two steps, marks in order
  EXPECT_EQ(decomposed(U"s\u0307\u0323"), U"s\u0323\u0307");         // reordered
  EXPECT_EQ(decomposed(U"a\u0301\u0300b\u0327\u0301"), U"a\u0301\u0300b\u0327\u0301");
  EXPECT_EQ(decomposed(U"\uD55C\uAC00"), U"\u1112\u1161\u11AB\u1100\u1161");  // Hangul
  EXPECT_EQ(decomposed(U"\u212B\uF900"), U"A\u030A\u8C48");
}

TEST(Unicode, LowerCaseOfOneCharacter) {
  EXPECT_EQ(lower(U'Q'), U"q");
  EXPECT_EQ(lower(0x130), U"i\u0307");
  EXPECT_EQ(lower(0x3A3), U"\u03C3");
  EXPECT_EQ(lower(0x100), U"\u0101");
  EXPECT_EQ(lower(0x101), U"\u0101");
  EXPECT_EQ(lower(0x1E9E), U"\u00DF");
  EXPECT_EQ(lower(0x10400), U"\U00010428");
  EXPECT_EQ(lower(0x16EA0), U"\U00016EBB");  // of Unicode 17
}

TEST(Unicode, Properties) {
  EXPECT_TRUE(is_punctuation('$') && is_punctuation('_') && is_punctuation(0x2014) && is_punctuation(0x3002));
  EXPECT_FALSE(is_punctuation('a') || is_punctuation(0x20AC) || is_punctuation(' '));
  EXPECT_TRUE(is_other(0) && is_other(0x200B) && is_other(0xE000) && is_other(0x85));
  EXPECT_FALSE(is_other('a') || is_other(0x378));  // unassigned characters stay
  EXPECT_TRUE(is_mark_nonspacing(0x301) && !is_mark_nonspacing(0x903));
  EXPECT_TRUE(is_white_space(0x3000) && is_white_space(0x85) && !is_white_space(0x200B));
  EXPECT_TRUE(is_word(0xF0) && is_word('_') && is_word('7') && is_word(0x6771) && !is_word('-') && !is_word(0xD7));
  EXPECT_TRUE(is_chinese(0x4E00) && is_chinese(0x2F800) && !is_chinese(0x3042) && !is_chinese(0xAC00));
}

TEST(Unicode, Composition) {
  const auto composed = [](std::u32string text) {
    decompose(text);
    compose(text);
    return text;
  };
  EXPECT_EQ(composed(U"e\u0301"), U"\u00E9");
  EXPECT_EQ(composed(U"\u1100\u1161\u11A8"), U"\uAC01");
  EXPECT_EQ(composed(U"\uAC00\u11A8"), U"\uAC01");
  EXPECT_EQ(composed(U"a\u0323\u0302"), U"\u1EAD");
  EXPECT_EQ(composed(U"a\u0302\u0323"), U"\u1EAD") << "whatever the order of the marks";
  EXPECT_EQ(composed(U"a\u0301\u0302"), U"\u00E1\u0302") << "a mark of the same class is in the way";
  EXPECT_EQ(composed(U"\u0301a"), U"\u0301a");
  EXPECT_EQ(composed(U"\u212B\u0958"), U"\u00C5\u0915\u093C");
  std::u32string compatible = U"\uFB03\u00B2\u3392";
  decompose_compatible(compatible);
  EXPECT_EQ(compatible, U"ffi2MHz");
  for (char32_t c = 0xA0; c < 0x3000; ++c) {  // what is composed stays so
    std::u32string once(1, c), twice;
    once = composed(once);
    EXPECT_EQ(composed(once), once) << static_cast<std::uint32_t>(c);
  }
}

TEST(Unicode, MalformedBytesOneByOne) {
  EXPECT_EQ(decode_utf8_bytewise("a\xE6\x9D"), (std::u32string{U'a', kMalformedByte, kMalformedByte}));
  EXPECT_EQ(decode_utf8_bytewise("\xE6\x9D\xB1\xC3"), (std::u32string{U'\u6771', kMalformedByte}));
  EXPECT_EQ(decode_utf8("a\xE6\x9D"), U"a\uFFFD");
}

}  // namespace
}  // namespace narrow::tokenizers
