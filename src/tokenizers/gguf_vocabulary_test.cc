#include "tokenizers/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "support/shared_data.h"
#include "tokenizers/pattern.h"

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;
using wire::GgufMetadata;
using wire::GgufValue;

GgufMetadata metadata(const std::string& model, std::vector<std::string> tokens, const std::vector<std::int32_t>& types) {
  GgufMetadata m;
  m.where = "t.gguf";
  m.set("tokenizer.ggml.model", GgufValue::text(model));
  m.set("tokenizer.ggml.tokens", GgufValue::texts(std::move(tokens)));
  m.set("tokenizer.ggml.token_type", GgufValue::s32s(types));
  return m;
}

GgufMetadata byte_level() {
  GgufMetadata m = metadata("gpt2", {"a", "b", "\u0120", "ab", "\u0120ab", "<|end|>", "<tool>", "1", "2"}, {1, 1, 1, 1, 1, 3, 4, 1, 1});
  m.set("tokenizer.ggml.merges", GgufValue::texts({"a b", "\u0120 ab"}));
  m.set("tokenizer.ggml.pre", GgufValue::text("gpt-2"));
  m.set("tokenizer.ggml.eos_token_id", GgufValue::u32(5));
  return m;
}

GgufMetadata llama() {
  GgufMetadata m = metadata("llama", {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"}, {2, 3, 3, 1, 1, 1, 1, 1});
  m.set("tokenizer.ggml.scores", GgufValue::f32s(std::vector<float>{0, 0, 0, -4, -5, -6, -1, -2}));
  m.set("tokenizer.ggml.bos_token_id", GgufValue::u32(1));
  m.set("tokenizer.ggml.eos_token_id", GgufValue::u32(2));
  return m;
}

Ids ids(const GgufMetadata& m, std::string_view text) {
  const auto tokenizer = make_gguf_tokenizer(m);
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().to_string());
  if (!tokenizer.ok()) return {};
  const auto encoding = (*tokenizer)->encode(text);
  EXPECT_TRUE(encoding.ok());
  return encoding->ids;
}

TEST(GgufVocabulary, ByteLevel) {
  EXPECT_EQ(ids(byte_level(), "ab ab  ab"), (Ids{3, 4, 2, 4}));
  EXPECT_EQ(ids(byte_level(), "a<tool>b<|end|>"), (Ids{0, 6, 1})) << "a user's token is found in the text, a control token is not";
  EXPECT_EQ(*(*make_gguf_tokenizer(byte_level()))->decode(Ids{3, 4, 5}), "ab ab");
  GgufMetadata m = byte_level();
  m.set("tokenizer.ggml.add_eos_token", GgufValue::flag(true));
  EXPECT_EQ(ids(m, "12"), (Ids{7, 8, 5}));
}

TEST(GgufVocabulary, EveryPatternCompiles) {
  for (const GgufPreTokenizer& row : gguf_pre_tokenizers()) {
    GgufMetadata m = byte_level();
    m.set("tokenizer.ggml.pre", GgufValue::text(std::string(row.name)));
    EXPECT_EQ(ids(m, "ab ab"), (Ids{3, 4})) << row.name;
  }
}

TEST(GgufVocabulary, LongRunsTakeFewSteps) {
  constexpr std::size_t kLength = 50'000;
  for (const GgufPreTokenizer& row : gguf_pre_tokenizers()) {
    for (const std::string_view pattern : row.patterns) {
      const auto compiled = Pattern::compile(pattern, "t");
      ASSERT_TRUE(compiled.ok()) << row.name;
      for (const std::u32string unit : {U" ", U"a", U"1", U".", U"\n", U"\u6771", U" \n", U"a ", U"\u0301", U"'"}) {
        std::u32string text;
        while (text.size() < kLength) text += unit;
        EXPECT_TRUE(compiled->matches(text + U"x").ok()) << row.name << " " << pattern;
      }
    }
  }
}

TEST(GgufVocabulary, SentencePiece) {
  EXPECT_EQ(ids(llama(), "ab  ab"), (Ids{1, 7, 3, 7})) << "a token before the text, blanks kept";
  GgufMetadata m = llama();
  m.set("tokenizer.ggml.add_bos_token", GgufValue::flag(false));
  m.set("tokenizer.ggml.add_space_prefix", GgufValue::flag(false));
  EXPECT_EQ(ids(m, "ab ab"), (Ids{6, 7}));
  m.set("tokenizer.ggml.model", GgufValue::text("t5"));
  EXPECT_EQ(ids(m, "ab"), (Ids{6, 2})) << "its end is marked";
}

TEST(GgufVocabulary, Bert) {
  GgufMetadata m = metadata("bert", {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581un", "want", "ed"}, {3, 2, 3, 3, 1, 1, 1});
  m.set("tokenizer.ggml.unknown_token_id", GgufValue::u32(1));
  m.set("tokenizer.ggml.cls_token_id", GgufValue::u32(2));
  m.set("tokenizer.ggml.seperator_token_id", GgufValue::u32(3));
  EXPECT_EQ(ids(m, "Unwanted x"), (Ids{2, 4, 5, 6, 1, 3}));
}

TEST(GgufVocabulary, SaysWhatIsWrong) {
  const auto message = [](const GgufMetadata& m) {
    const auto tokenizer = make_gguf_tokenizer(m);
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? "" : tokenizer.error().to_string();
  };
  EXPECT_NE(message({}).find("no vocabulary"), std::string::npos);
  GgufMetadata m = byte_level();
  m.set("tokenizer.ggml.pre", GgufValue::text("gpt-3"));
  EXPECT_NE(message(m).find("did you mean 'gpt-2'"), std::string::npos);
  m = byte_level();
  m.set("tokenizer.ggml.merges", GgufValue::texts({"ab"}));
  EXPECT_NE(message(m).find("merge 0 'ab'"), std::string::npos);
  m.set("tokenizer.ggml.merges", GgufValue::texts({"a x"}));
  EXPECT_NE(message(m).find("'x', which is not in the vocabulary"), std::string::npos);
  m = llama();
  m.set("tokenizer.ggml.scores", GgufValue::f32s(std::vector<float>{1}));
  EXPECT_NE(message(m).find("1 scores for 8 tokens"), std::string::npos);
  m.set("tokenizer.ggml.token_type", GgufValue::s32s(std::vector<std::int32_t>{1}));
  EXPECT_NE(message(m).find("1 types for 8 tokens"), std::string::npos);
  m = llama();
  m.set("tokenizer.ggml.model", GgufValue::text("rwkv"));
  EXPECT_NE(message(m).find("llama, t5, gpt2 and bert"), std::string::npos);
}

// Texts and their ids that come with each vocabulary.
TEST(GgufVocabulary, SharedTokenTests) {
  const auto folder = tests::shared_data("tokenizers/gguf");
  if (!folder) GTEST_SKIP() << "skipped: shared data not found";
  for (const char* name : {"gpt-2", "llama-spm", "phi-3", "bert-bge"}) {
    const std::string path = (*folder / (std::string("ggml-vocab-") + name + ".gguf")).string();
    const auto tokenizer = read_tokenizer(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().to_string();
    std::ifstream texts(path + ".inp"), rows(path + ".out");
    std::stringstream all;
    all << texts.rdbuf();
    const std::string separator = "\n__ggml_vocab_test__\n", whole = all.str();
    std::size_t at = 0, count = 0;
    for (std::string row; std::getline(rows, row); ++count) {
      const std::size_t end = std::min(whole.find(separator, at), whole.size());
      const std::string text = whole.substr(at, end - at);
      at = std::min(end + separator.size(), whole.size());
      std::istringstream numbers(row);
      Ids expected;
      for (std::int64_t id; numbers >> id;) expected.push_back(id);
      const auto encoding = (*tokenizer)->encode(text, {.special_tokens = false});
      ASSERT_TRUE(encoding.ok());
      EXPECT_EQ(encoding->ids, expected) << name << ": " << text;
    }
    EXPECT_EQ(count, 46u);
  }
}

}  // namespace
}  // namespace narrow::tokenizers
