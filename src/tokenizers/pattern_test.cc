#include "tokenizers/pattern.h"

#include <gtest/gtest.h>

#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

std::vector<std::string> found(std::string_view pattern, std::string_view text) {
  const auto made = Pattern::compile(pattern, "t");
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
  if (!made.ok()) return {};
  const std::u32string characters = decode_utf8(text);
  const auto matches = made->matches(characters);
  EXPECT_TRUE(matches.ok());
  std::vector<std::string> all;
  for (const Pattern::Match& match : *matches) all.push_back(encode_utf8(characters.substr(match.begin, match.end - match.begin)));
  return all;
}

using Texts = std::vector<std::string>;

TEST(Pattern, CharactersOfEveryPlane) {
  EXPECT_EQ(found(R"(\p{L}+|\p{N})", "a\u00E9\U00020000 \u0663\u4E1C!"), (Texts{"a\u00E9\U00020000", "\u0663", "\u4E1C"}));
  EXPECT_EQ(found(R"(\s+(?!\S)|\s+)", "a   b"), (Texts{"  ", " "}));
}

TEST(Pattern, EmptyMatchesNeverFollowAnother) {
  EXPECT_EQ(found("a*", "baac"), (Texts{"", "aa", ""}));
  EXPECT_EQ(found("x*", ""), (Texts{""}));
}

TEST(Pattern, MeansWhatRubyMeans) {
  EXPECT_EQ(found(R"(\h+)", "xAf0g"), (Texts{"Af0"})) << "hexadecimal digits";
  EXPECT_EQ(found(R"(\s)", "\u180E\u0085\u3000"), (Texts{"\u0085", "\u3000"}));
  EXPECT_EQ(found(R"(\w+)", "e\u0301\u00B2 _"), (Texts{"e\u0301\u00B2", "_"})) << "marks, and these superscripts";
  EXPECT_EQ(found(R"([[:word:]]+)", "a\u00B2"), (Texts{"a"}));
  EXPECT_EQ(found(R"(\p{L})", "\U00031350\uA7DA"), (Texts{"\U00031350", "\uA7DA"})) << "letters of Unicode 15 and 16";
  EXPECT_EQ(found(R"([^\p{L}]+)", "\U00031350.\uA7DA"), (Texts{"."}));
  EXPECT_EQ(found(R"(\p{Letter}\p{^L})", "a1"), (Texts{"a1"}));
  EXPECT_EQ(found(R"([[:alpha:]&&[^aeiou]]+)", "abcde"), (Texts{"bcd"})) << "intersection";
  EXPECT_EQ(found(R"([^a[bc]]+)", "abcde"), (Texts{"de"})) << "union";
  EXPECT_EQ(found(R"([\S\n]+)", "a\nb c"), (Texts{"a\nb", "c"}));
  EXPECT_EQ(found(R"([]a]+)", "a]b"), (Texts{"a]"}));
  EXPECT_EQ(found("^.|.$", "ab\ncd"), (Texts{"a", "b", "c", "d"})) << "at every line";
  EXPECT_EQ(found("(?m:a.b)", "a\nb"), (Texts{"a\nb"})) << "m lets the dot match line ends";
  EXPECT_EQ(found("a(?i)b|c", "aB ac C"), (Texts{"aB", "ac"})) << "flags hold to the end of the group, alternatives included";
  EXPECT_EQ(found("x{,2}y", "xxxy"), (Texts{"xxy"}));
  EXPECT_EQ(found("(?:ab{2}+)c", "abbbbc"), (Texts{"abbbbc"})) << "an interval is repeated, not possessive";
  EXPECT_EQ(found("a{b", "a{b"), (Texts{"a{b"}));
  EXPECT_EQ(found(R"(\bt\w*\b)", "to at tea"), (Texts{"to", "tea"}));
  EXPECT_EQ(found(R"(\x41\u0042\x{43}\-)", "ABC-"), (Texts{"ABC-"}));
  EXPECT_EQ(found("(?#of no use)(?<n>a)\\k<n>", "aa"), (Texts{"aa"}));
}

TEST(Pattern, RefusesWhatItCannotSay) {
  const std::string deep(1000, '['), groups(1000, '(');
  for (const std::string& pattern : {std::string("[a"), std::string("a)"), std::string("\\"), std::string("\\p{Nonsense}"), std::string("[\\p{Nonsense}]"),
                                     std::string("[b-a]"), std::string("\\x{110000}"), std::string("\\x{41"), std::string("(?~a)"), std::string("(?#"),
                                     std::string("(?<n"), std::string("\\uD800"), deep, groups, std::string(1 << 17, 'a'), std::string("*")}) {
    EXPECT_FALSE(Pattern::compile(pattern, "t").ok()) << pattern.substr(0, 50);
  }
}

TEST(Pattern, LiteralsMatchThemselves) {
  const auto matches = Pattern::literal(".").matches(U"a.b..");
  ASSERT_TRUE(matches.ok());
  EXPECT_EQ(matches->size(), 3u);
  EXPECT_EQ((*matches)[0].begin, 1u);
  EXPECT_TRUE(Pattern::literal("").matches(U"ab")->empty());
}

TEST(Pattern, SaysWhereItIsWrong) {
  const auto made = Pattern::compile("a(b", "t.json: pre_tokenizer.pattern");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(made.error().message().find("t.json: pre_tokenizer.pattern: the pattern 'a(b' is wrong: missing closing parenthesis"), std::string::npos)
      << made.error().message();
}

TEST(Pattern, EndlessSearchesAreGivenUp) {
  const auto made = Pattern::compile("^(a+)+$", "t");
  ASSERT_TRUE(made.ok());
  const auto matches = made->matches(std::u32string(60, U'a') + U"b");
  ASSERT_FALSE(matches.ok());
  EXPECT_EQ(matches.error().code(), ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace narrow::tokenizers
