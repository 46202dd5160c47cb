#include "tokenizers/decoders.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

using Texts = std::vector<std::string>;

std::string decoded(const nlohmann::json& part, Texts tokens) {
  const nlohmann::json file = {{"decoder", part}};
  const auto made = make_decoder(Fields(file, "t.json"));
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
  if (!made.ok()) return "";
  EXPECT_TRUE((*made)->apply(tokens).ok());
  std::string all;
  for (const std::string& token : tokens) all += token;
  return all;
}

std::string by(const char* type, Texts tokens) { return decoded({{"type", type}}, std::move(tokens)); }

TEST(Decoders, Bytes) {
  EXPECT_EQ(by("ByteLevel", {"a", "\u0120b", "\u00C3", "\u00A9"}), "a b\u00E9");
  EXPECT_EQ(by("ByteLevel", {"\u00C3", "x"}), "\uFFFDx") << "a character that is cut off";
  EXPECT_EQ(by("ByteLevel", {"\u6771", "\u0120"}), "\u6771 ") << "what is no spelling of bytes stands for itself";
  EXPECT_EQ(by("ByteFallback", {"<0xC3>", "<0xA9>", "<0x41>x", "b"}), "\u00E9<0x41>xb");
  EXPECT_EQ(by("ByteFallback", {"<0xC3>", "<0x41>", "b", "<0xFF>"}), "\uFFFD\uFFFDb\uFFFD");
}

TEST(Decoders, Words) {
  EXPECT_EQ(decoded({{"type", "Metaspace"}, {"replacement", "_"}}, {"_a", "_b_c"}), "a b c");
  EXPECT_EQ(decoded({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "never"}}, {"_a", "_b"}), " a b");
  EXPECT_EQ(by("WordPiece", {"un", "##want", "##ed", ",", "do", "n't"}), "unwanted, don't");
  EXPECT_EQ(decoded({{"type", "WordPiece"}, {"cleanup", false}}, {"a", "."}), "a .");
  EXPECT_EQ(by("BPEDecoder", {"a", "b</w>", "c</w>"}), "ab c");
  EXPECT_EQ(by("CTC", {"a", "a", "<pad>", "a", "|", "b"}), "aa b");
  EXPECT_EQ(decoded({{"type", "Replace"}, {"pattern", {{"Regex", "\\d"}}}, {"content", "#"}}, {"a1", "23"}), "a###");
  EXPECT_EQ(decoded({{"type", "Strip"}, {"content", "_"}, {"start", 1}, {"stop", 2}}, {"__a___", "_", ""}), "_a_");
}

TEST(Decoders, OneAfterAnother) {
  const nlohmann::json llama = {{"type", "Sequence"},
                                {"decoders", {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
                                              {{"type", "ByteFallback"}},
                                              {{"type", "Fuse"}},
                                              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  EXPECT_EQ(decoded(llama, {"\u2581a", "<0xE6>", "<0x9D>", "<0xB1>", "\u2581b"}), "a\u6771 b");
  EXPECT_EQ(decoded(llama, {}), "");
}

// A byte-level tokenizer whose ids are bytes; 256 is special.
std::shared_ptr<const Tokenizer> bytes_tokenizer() {
  nlohmann::json vocabulary;
  for (std::int64_t byte = 0; byte < 256; ++byte) {
    // "!" is the first of the characters that stand for themselves.
    const bool printed = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    static std::int64_t others = 0;
    const auto c = static_cast<char32_t>(printed ? byte : 0x100 + others++);
    std::string text;
    if (c < 0x80) text = static_cast<char>(c);
    else text = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    vocabulary[text] = byte;
  }
  const nlohmann::json file = {{"added_tokens", {{{"content", "<|end|>"}, {"id", 256}, {"special", true}}}},
                               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                               {"decoder", {{"type", "ByteLevel"}}},
                               {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  const auto made = parse_tokenizer(file.dump(), "t.json");
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
  return *made;
}

TEST(Decoders, TokenizersThereAndBack) {
  static const auto tokenizer = bytes_tokenizer();
  const std::string text = "na\u00EFve \u6771\u4EAC \U0001F600!\t";
  const auto ids = tokenizer->encode(text);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->ids.size(), text.size());
  EXPECT_EQ(*tokenizer->decode(ids->ids), text);
  EXPECT_EQ(*tokenizer->decode(std::vector<std::int64_t>{97, 256, 9999, -1, 98}), "ab") << "specials and ids that are none are left out";
  EXPECT_EQ(*tokenizer->decode(std::vector<std::int64_t>{97, 256}, false), "a<|end|>");
  EXPECT_EQ(tokenizer->id_count(), 257u);
  EXPECT_TRUE(tokenizer->is_special(256));

  // Token by token, never half a character.
  StreamDecoder stream(*tokenizer);
  std::string streamed;
  for (const std::int64_t id : ids->ids) {
    const auto more = stream.push(id);
    ASSERT_TRUE(more.ok());
    EXPECT_EQ(more->find("\uFFFD"), std::string::npos);
    EXPECT_TRUE(more->empty() || (static_cast<unsigned char>((*more)[0]) & 0xC0) != 0x80);
    streamed += *more;
  }
  EXPECT_EQ(streamed + *stream.finish(), text);

  StreamDecoder cut(*tokenizer);
  EXPECT_EQ(*cut.push(0xC3), "");
  EXPECT_EQ(*cut.push(256), "") << "a special token gives no text";
  EXPECT_EQ(*cut.finish(), "\uFFFD") << "what never became a character";
  EXPECT_EQ(*cut.finish(), "");
}

TEST(Decoders, StreamsKeepTheBlankBetweenWords) {
  const auto made = parse_tokenizer(
      R"({"added_tokens": [{"content": "<s>", "id": 0, "special": true}],
          "decoder": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"},
          "model": {"type": "BPE", "vocab": {"<s>": 0, "_a": 1, "_b": 2, "_": 3}, "merges": []}})", "t.json");
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  StreamDecoder stream(**made);
  std::string text;
  for (const std::int64_t id : {0, 1, 0, 2, 3, 1}) text += *stream.push(id);
  EXPECT_EQ(text + *stream.finish(), "a b  a");
}

}  // namespace
}  // namespace narrow::tokenizers
