#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tokenizers/parts.h"
#include "tokenizers/test_charsmap.h"
#include "tokenizers/unicode.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

std::string normalized(const nlohmann::json& part, std::string_view text) {
  const nlohmann::json file = {{"normalizer", part}};
  const auto made = make_normalizer(Fields(file, "t.json"));
  EXPECT_TRUE(made.ok()) << part.dump() << (made.ok() ? "" : made.error().to_string());
  if (!made.ok()) return "";
  std::u32string characters = decode_utf8(text);
  EXPECT_TRUE((*made)->apply(characters).ok());
  return encode_utf8(characters);
}

std::string by(const char* type, std::string_view text) { return normalized({{"type", type}}, text); }

TEST(Normalizers, FormsOfUnicode) {
  EXPECT_EQ(by("NFC", "e\u0301\u1100\u1161\u11A8"), "\u00E9\uAC01");
  EXPECT_EQ(by("NFC", "q\u0307\u0323"), "q\u0323\u0307") << "marks go by their class";
  EXPECT_EQ(by("NFC", "\u0958"), "\u0915\u093C") << "a composition that is excluded";
  EXPECT_EQ(by("NFC", "e\u0323\u0301\u0301"), "\u1EB9\u0301\u0301");
  EXPECT_EQ(by("NFD", "\u00E9\uAC01"), "e\u0301\u1100\u1161\u11A8");
  EXPECT_EQ(by("NFKC", "\uFB01\u2460\u00BD\uFF21\u03AA"), "fi11\u20442A\u03AA");
  EXPECT_EQ(by("NFKC", "\u1E9B\u0323"), "\u1E69");
  EXPECT_EQ(by("NFKD", "\uFDFA"), "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 \u0639\u0644\u064A\u0647 \u0648\u0633\u0644\u0645");
  EXPECT_EQ(by("NFKD", "\u00A0a"), " a");
}

TEST(Normalizers, Letters) {
  EXPECT_EQ(by("Lowercase", "\u0130AΣ"), "i\u0307aσ");
  EXPECT_EQ(by("StripAccents", "e\u0301\u0903"), "e") << "marks that take space too";
  EXPECT_EQ(by("Nmt", "a\u200Bb\u0001c\u2581"), "a bc ");
  EXPECT_EQ(by("ByteLevel", " \u00E9"), "\u0120\u00C3\u00A9");
}

TEST(Normalizers, Texts) {
  EXPECT_EQ(by("Strip", " \u3000a b\t"), "a b");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}}, " a "), " a");
  EXPECT_EQ(by("Strip", "  "), "");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "\u2581"}}, "a"), "\u2581a");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "\u2581"}}, ""), "");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"String", "aa"}}}, {"content", "b"}}, "aaaca"), "baca");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}, "a   b c"), "a b c");
  EXPECT_EQ(normalized({{"type", "Sequence"}, {"normalizers", {{{"type", "Strip"}}, {{"type", "Lowercase"}}}}}, " A "), "a");
}

// {"type": "Precompiled"} of a table with these entries.
std::string precompiled(const std::vector<std::pair<std::string, std::string>>& entries, std::string_view text) {
  return normalized({{"type", "Precompiled"}, {"precompiled_charsmap", base64(charsmap_bytes(entries))}}, text);
}

TEST(Normalizers, TableOfCharacters) {
  EXPECT_EQ(precompiled({{"\u2122", "TM"}, {"\uFF21", "A"}, {"\u200B", ""}}, "x\u2122\u200B\uFF21"), "xTMA");
  EXPECT_EQ(precompiled({{"e", "E"}, {"e\u0301", "\u00E9"}}, "e\u0301x"), "Ex") << "a cluster of few bytes goes by its shortest entry, whole";
  EXPECT_EQ(precompiled({{"\u6771", "E"}}, "\u6771\u20DD"), "E\u20DD") << "a cluster of six bytes goes character by character";
  EXPECT_EQ(precompiled({{"\r\n", "\n"}}, "a\r\nb"), "a\nb");
  EXPECT_EQ(precompiled({{"\u2139", "i"}}, "\u2139\u05A4\U0001F327"), "i\U0001F327") << "a pictograph begins a cluster of its own";
  EXPECT_EQ(normalized({{"type", "Precompiled"}, {"precompiled_charsmap", ""}}, "a"), "a");
}

TEST(Normalizers, SayWhetherTheyCutTheStart) {
  const auto cuts = [](const nlohmann::json& part, std::u32string_view text) {
    const nlohmann::json file = {{"normalizer", part}};
    return (*make_normalizer(Fields(file, "t.json")))->cuts_start(text);
  };
  EXPECT_TRUE(cuts({{"type", "Strip"}}, U" a"));
  EXPECT_FALSE(cuts({{"type", "Strip"}}, U"a "));
  EXPECT_FALSE(cuts({{"type", "Strip"}, {"strip_left", false}}, U" a"));
  EXPECT_TRUE(cuts({{"type", "Nmt"}}, U"\u0001a"));
  EXPECT_TRUE(cuts({{"type", "StripAccents"}}, U"\u0301a"));
  EXPECT_TRUE(cuts({{"type", "Sequence"}, {"normalizers", {{{"type", "Nmt"}}, {{"type", "Strip"}}}}}, U"\u200Ba")) << "blank, then stripped";
  EXPECT_FALSE(cuts({{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Prepend"}, {"prepend", "_"}}}}}, U" a"));
}

TEST(Normalizers, MalformedParts) {
  const auto message = [](const nlohmann::json& part) {
    const nlohmann::json file = {{"normalizer", part}};
    const auto made = make_normalizer(Fields(file, "t.json"));
    EXPECT_FALSE(made.ok()) << part.dump();
    return made.ok() ? "" : made.error().to_string();
  };
  EXPECT_NE(message({{"type", "Precompiled"}, {"precompiled_charsmap", "!"}}).find("not base64"), std::string::npos);
  EXPECT_NE(message({{"type", "Precompiled"}, {"precompiled_charsmap", "//8="}}).find("table of characters"), std::string::npos);
  EXPECT_NE(message({{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}).find("table of characters"), std::string::npos);
  EXPECT_NE(message({{"type", "Replace"}, {"pattern", {{"String", "a"}}}}).find("content"), std::string::npos);
  EXPECT_NE(message({{"type", "Prepend"}}).find("prepend"), std::string::npos);
  EXPECT_NE(message({{"type", "NFX"}}).find("there is no normalizer 'NFX'"), std::string::npos);
}

}  // namespace
}  // namespace narrow::tokenizers
