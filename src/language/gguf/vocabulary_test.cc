// Tokenizers of Hugging Face folders as GGUF's keys.
#include "language/gguf/vocabulary.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/shared_data.h"

namespace narrow::language {
namespace {

namespace fs = std::filesystem;

class GgufVocabulary : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "narrow-ggufvocab-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  void put(const char* name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  Result<wire::GgufMetadata> keys(std::int64_t vocabulary = 8, const std::string& config = R"({"bos_token_id":5,"eos_token_id":[6,5]})") const {
    wire::GgufMetadata m;
    NARROW_RETURN_IF_ERROR(set_gguf_vocabulary(folder_.string(), config, vocabulary, m));
    return m;
  }
  static std::string tokenizer(const std::string& pre_tokenizer, const std::string& more = "") {
    return R"({"added_tokens":[{"id":5,"content":"<s>","special":true},{"id":6,"content":"<tool>","special":false},{"id":99,"content":"beyond","special":true}],"pre_tokenizer":)" + pre_tokenizer +
           R"(,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"<0x0A>":3,"<unk>":4},"merges":["a b"])" + more + "}}";
  }

  fs::path folder_;
};

constexpr const char* kByteLevel = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";

TEST_F(GgufVocabulary, BytePairsOverBytes) {
  put("tokenizer.json", tokenizer(kByteLevel));
  put("tokenizer_config.json", R"({"add_bos_token":true,"unk_token":{"content":"<unk>"}})");
  const auto m = keys();
  ASSERT_TRUE(m.ok()) << m.error().to_string();
  EXPECT_EQ(*m->text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*m->text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(*m->texts("tokenizer.ggml.tokens"), (std::vector<std::string>{"a", "b", "ab", "<0x0A>", "<unk>", "<s>", "<tool>", "[PAD7]"}));
  EXPECT_EQ(*m->wholes("tokenizer.ggml.token_type"), (std::vector<std::int64_t>{1, 1, 1, 1, 1, 3, 4, 5}));
  EXPECT_EQ(*m->texts("tokenizer.ggml.merges"), (std::vector<std::string>{"a b"}));
  EXPECT_EQ(*m->whole("tokenizer.ggml.bos_token_id"), 5);
  EXPECT_EQ(*m->whole("tokenizer.ggml.eos_token_id"), 6);
  EXPECT_EQ(*m->whole("tokenizer.ggml.unknown_token_id"), 4);
  EXPECT_TRUE(*m->flag("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(m->has("tokenizer.ggml.scores"));
}

TEST_F(GgufVocabulary, CharactersThatFallBackToBytes) {
  put("tokenizer.json", tokenizer("null", R"(,"byte_fallback":true,"unk_token":"<unk>")"));
  const auto m = keys();
  ASSERT_TRUE(m.ok()) << m.error().to_string();
  EXPECT_EQ(*m->text("tokenizer.ggml.model"), "llama");
  EXPECT_EQ(*m->wholes("tokenizer.ggml.token_type"), (std::vector<std::int64_t>{1, 1, 1, 6, 2, 3, 4, 5}));
  const std::vector<float> scores = *m->reals("tokenizer.ggml.scores");
  EXPECT_GT(scores[2], scores[0]);  // what a merge makes is wanted before what none makes
  EXPECT_TRUE(*m->flag("tokenizer.ggml.add_bos_token"));
}

TEST_F(GgufVocabulary, NamesTheWayThatTextIsCut) {
  const auto name = [&](const std::string& pattern, const std::string& more = "") {
    put("tokenizer.json", tokenizer(R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" + pattern + R"("},"behavior":"Isolated","invert":false},)" +
                                        R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})", more));
    const auto m = keys();
    return m.ok() ? *m->text("tokenizer.ggml.pre") : m.error().message();
  };
  const std::string start = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N})", end = R"(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
  EXPECT_EQ(name(start + "{1,3}" + end, R"(,"ignore_merges":true)"), "llama-bpe");
  EXPECT_EQ(name(start + "{1,3}" + end), "dbrx");
  EXPECT_EQ(name(start + end), "qwen2");
  EXPECT_NE(name("xyz").find("no name"), std::string::npos);
  put("tokenizer.json", tokenizer(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)" + std::string(kByteLevel) + "]}"));
  EXPECT_EQ(*keys()->text("tokenizer.ggml.pre"), "starcoder");
  put("tokenizer.json", tokenizer(R"({"type":"Whitespace"})"));
  EXPECT_EQ(keys().error().code(), ErrorCode::kUnsupported);
}

TEST_F(GgufVocabulary, NoneAndWrongOnes) {
  EXPECT_EQ(*keys()->text("tokenizer.ggml.model"), "no_vocab");
  put("tokenizer.json", tokenizer(kByteLevel));
  EXPECT_EQ(keys(3).error().code(), ErrorCode::kCorrupt);  // token 3 is beyond
  put("tokenizer.json", R"({"model":{"type":"Unigram","vocab":[]}})");
  EXPECT_EQ(keys().error().code(), ErrorCode::kUnsupported);
  put("tokenizer.json", "{");
  EXPECT_EQ(keys().error().code(), ErrorCode::kCorrupt);
}

TEST_F(GgufVocabulary, OfARealModel) {
  const auto folder = tests::shared_data("llm/llama7m");
  if (!folder) GTEST_SKIP() << "skipped: shared data not found";
  wire::GgufMetadata m;
  ASSERT_TRUE(set_gguf_vocabulary(folder->string(), R"({"bos_token_id":0,"eos_token_id":0})", 4096, m).ok());
  EXPECT_EQ(*m.text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(m.texts("tokenizer.ggml.merges")->size(), 3839u);
  EXPECT_EQ(m.texts("tokenizer.ggml.tokens")->at(0), "<|endoftext|>");
  EXPECT_FALSE(*m.flag("tokenizer.ggml.add_bos_token"));
}

}  // namespace
}  // namespace narrow::language
