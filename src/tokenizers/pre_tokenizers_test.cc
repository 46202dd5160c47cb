#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tokenizers/parts.h"
#include "tokenizers/unicode.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

using Texts = std::vector<std::string>;

Result<std::unique_ptr<const PreTokenizer>> made(const std::string& part) {
  const nlohmann::json file = {{"pre_tokenizer", nlohmann::json::parse(part)}};
  return make_pre_tokenizer(Fields(file, "t.json"));
}

Texts words(const std::string& part, std::string_view text, bool at_start = true) {
  const auto pre_tokenizer = made(part);
  EXPECT_TRUE(pre_tokenizer.ok()) << part << (pre_tokenizer.ok() ? "" : pre_tokenizer.error().to_string());
  if (!pre_tokenizer.ok()) return {};
  const std::u32string characters = decode_utf8(text);
  Words found;
  EXPECT_TRUE((*pre_tokenizer)->split({characters, at_start}, found).ok());
  Texts all;
  for (std::size_t i = 0; i < found.size(); ++i) all.push_back(encode_utf8(found[i].text));
  return all;
}

std::string message(const std::string& part) {
  const auto pre_tokenizer = made(part);
  EXPECT_FALSE(pre_tokenizer.ok()) << part;
  return pre_tokenizer.ok() ? "" : pre_tokenizer.error().to_string();
}

TEST(PreTokenizers, ByteLevelWritesBytesAsCharacters) {
  EXPECT_EQ(words(R"({"type": "ByteLevel", "add_prefix_space": false})", "it's  12 \u00E9!"), (Texts{"it", "'s", "\u0120", "\u012012", "\u0120\u00C3\u00A9", "!"}));
  EXPECT_EQ(words(R"({"type": "ByteLevel"})", "a b"), (Texts{"\u0120a", "\u0120b"})) << "a blank before the text";
  EXPECT_EQ(words(R"({"type": "ByteLevel"})", " a"), (Texts{"\u0120a"})) << "which has one already";
  EXPECT_EQ(words(R"({"type": "ByteLevel", "use_regex": false})", "a b"), (Texts{"\u0120a\u0120b"}));
}

TEST(PreTokenizers, SplitKeepsWhatItsBehaviorSays) {
  const auto split = [](const char* behavior, const char* invert = "false") {
    return words(std::string(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")") + behavior + R"(", "invert": )" + invert + "}", "-a--b-c");
  };
  EXPECT_EQ(split("Removed"), (Texts{"a", "b", "c"}));
  EXPECT_EQ(split("Isolated"), (Texts{"-", "a", "-", "-", "b", "-", "c"}));
  EXPECT_EQ(split("MergedWithPrevious"), (Texts{"-", "a-", "-", "b-", "c"}));
  EXPECT_EQ(split("MergedWithNext"), (Texts{"-a", "-", "-b", "-c"}));
  EXPECT_EQ(split("Contiguous"), (Texts{"-", "a", "--", "b", "-", "c"}));
  EXPECT_EQ(split("Removed", "true"), (Texts{"-", "-", "-", "-"}));
  EXPECT_EQ(split("MergedWithPrevious", "true"), (Texts{"-a", "-", "-b", "-c"}));
  EXPECT_EQ(words(R"({"type": "Split", "pattern": {"Regex": "\\d+"}, "behavior": "Isolated"})", "a12b"), (Texts{"a", "12", "b"}));
  EXPECT_NE(message(R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Gone"})").find("no behavior 'Gone'"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Split", "pattern": {"Regex": "("}})").find("pattern '('"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Split", "pattern": {}})").find("String"), std::string::npos);
}

TEST(PreTokenizers, MetaspaceMarksBlanks) {
  const auto metaspace = [](const std::string& more, std::string_view text, bool at_start = true) {
    return words(R"({"type": "Metaspace", "replacement": "_")" + more + "}", text, at_start);
  };
  EXPECT_EQ(metaspace("", "a b  c"), (Texts{"_a", "_b", "_", "_c"}));
  EXPECT_EQ(metaspace(R"(, "prepend_scheme": "first")", "a b"), (Texts{"_a", "_b"}));
  EXPECT_EQ(metaspace(R"(, "prepend_scheme": "first")", "a b", false), (Texts{"a", "_b"})) << "something stands before";
  EXPECT_EQ(metaspace(R"(, "prepend_scheme": "never")", "a b"), (Texts{"a", "_b"}));
  EXPECT_EQ(metaspace(R"(, "add_prefix_space": false)", "a b"), (Texts{"a", "_b"})) << "as older files say it";
  EXPECT_EQ(metaspace(R"(, "split": false)", " a b"), (Texts{"_a_b"}));
  EXPECT_NE(message(R"({"type": "Metaspace", "replacement": "__"})").find("is not one character"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Metaspace", "prepend_scheme": "last"})").find("always, first or never"), std::string::npos);
}

TEST(PreTokenizers, CharactersOfAKind) {
  EXPECT_EQ(words(R"({"type": "Digits", "individual_digits": true})", "a12\u0663b"), (Texts{"a", "1", "2", "\u0663", "b"}));
  EXPECT_EQ(words(R"({"type": "Digits"})", "a12\u0663b"), (Texts{"a", "12\u0663", "b"}));
  EXPECT_EQ(words(R"({"type": "Punctuation"})", "a,b."), (Texts{"a", ",", "b", "."}));
  EXPECT_EQ(words(R"({"type": "Punctuation", "behavior": "Removed"})", "a,b."), (Texts{"a", "b"}));
  EXPECT_EQ(words(R"({"type": "Whitespace"})", " it's 5%\u3000x_1"), (Texts{"it", "'", "s", "5", "%", "x_1"}));
  EXPECT_EQ(words(R"({"type": "WhitespaceSplit"})", " it's \u00A0 5% "), (Texts{"it's", "5%"}));
  EXPECT_EQ(words(R"({"type": "BertPreTokenizer"})", " it's\t\u00BFok"), (Texts{"it", "'", "s", "\u00BF", "ok"}));
  EXPECT_EQ(words(R"({"type": "CharDelimiterSplit", "delimiter": "|"})", "a||b"), (Texts{"a", "b"}));
  EXPECT_EQ(words(R"({"type": "FixedLength", "length": 2})", "ab\u6771cd"), (Texts{"ab", "\u6771c", "d"}));
  EXPECT_NE(message(R"({"type": "FixedLength", "length": 0})").find("no characters"), std::string::npos);
}

TEST(PreTokenizers, Scripts) {  // as the tokenizers package 0.23 cuts
  const std::string scripts = R"({"type": "UnicodeScripts"})";
  EXPECT_EQ(words(scripts, "  ab \u65E5\u672C"), (Texts{"ab ", "\u65E5\u672C"}));
  EXPECT_EQ(words(scripts, "ab, cd 12 \u3044\u308D\u306F\u30CB \u30FC x"), (Texts{"ab", ", ", "cd ", "12 ", "\u3044\u308D\u306F\u30CB \u30FC ", "x"}));
  EXPECT_EQ(words(scripts, "ab\tc"), (Texts{"ab", "\t", "c"}));
  EXPECT_EQ(words(scripts, "\u00E9\u00E0\u044E x"), (Texts{"\u00E9\u00E0", "\u044E ", "x"}));
  EXPECT_EQ(words(scripts, "a\u0301b\u0378c"), (Texts{"a", "\u0301", "b\u0378c"}));
  EXPECT_EQ(words(scripts, " "), Texts());
  EXPECT_EQ(words(scripts, ""), Texts());
}

TEST(PreTokenizers, OneAfterAnother) {
  EXPECT_EQ(words(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "prepend_scheme": "first"}]})", "a b"),
            (Texts{"\u2581a", "b"})) << "only the first word is at the start";
  EXPECT_EQ(words(R"({"type": "Sequence", "pretokenizers": []})", "a b"), (Texts{"a b"}));
  EXPECT_NE(message(R"({"type": "Sequence", "pretokenizers": [{"type": "Digit"}]})").find("did you mean 'Digits'"), std::string::npos);
}

}  // namespace
}  // namespace narrow::tokenizers
