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
