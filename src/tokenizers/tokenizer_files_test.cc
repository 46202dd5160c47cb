#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/shared_data.h"
#include "tokenizers/test_tokenizer.h"
#include "tokenizers/tokenizer.h"
#include "wire/gguf.h"
#include "wire/protobuf.h"

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;

class TokenizerFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("narrow_tokenizer_files_" + std::to_string(::getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return (folder_ / name).string();
  }
  std::string path() const { return folder_.string(); }

  std::filesystem::path folder_;
};

Ids ids(const Result<std::shared_ptr<const Tokenizer>>& tokenizer, std::string_view text) {
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().to_string());
  if (!tokenizer.ok()) return {};
  const auto encoding = (*tokenizer)->encode(text);
  EXPECT_TRUE(encoding.ok());
  return encoding->ids;
}

// <unk> <s> </s> ▁ a
std::string sentencepiece_file() {
  wire::ProtoMessage whole;
  const auto add = [&](std::string_view text, int type) {
    wire::ProtoMessage piece;
    piece.add_string(1, text);
    piece.add_float(2, -1);
    piece.add_int(3, type);
    whole.add_message(1, piece);
  };
  add("<unk>", 2);
  add("<s>", 3);
  add("</s>", 3);
  add("\u2581", 1);
  add("a", 1);
  return whole.to_string();
}

TEST_F(TokenizerFiles, FoundInAFolder) {
  EXPECT_EQ(find_tokenizer(path()), std::nullopt);
  const auto none = read_tokenizer(path());
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(none.error().message().find("tokenizer.json"), std::string::npos);
  write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})");
  EXPECT_EQ(find_tokenizer(path()), std::nullopt) << "merges.txt is missing";
  write("merges.txt", "#version: 0.2\na b\r\n\n");
  EXPECT_EQ(ids(read_tokenizer(path()), "abb<|endoftext|>"), (Ids{2, 1, 3}));
  write("tokenizer.model", sentencepiece_file());
  EXPECT_EQ(ids(read_tokenizer(path()), "a"), (Ids{1, 3, 4}));
  write("tokenizer.json", small_tokenizer());
  EXPECT_EQ(find_tokenizer(path()), (folder_ / "tokenizer.json").string());
  EXPECT_EQ(ids(read_tokenizer(path()), "un"), (Ids{2, 5, 3}));
}

TEST_F(TokenizerFiles, RolesOfTokens) {
  const std::string json = write("tokenizer.json", small_tokenizer());
  write("tokenizer_config.json", R"({"bos_token": "[CLS]", "eos_token": {"content": "[SEP]", "lstrip": false}, "model_max_length": 1e30})");
  write("special_tokens_map.json", R"({"pad_token": "[PAD]", "unk_token": "nothing"})");
  const auto tokenizer = read_tokenizer(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().to_string();
  const SpecialIds& special = (*tokenizer)->parts().special;
  EXPECT_EQ(special.bos, 2);
  EXPECT_EQ(special.eos, 3);
  EXPECT_EQ(special.pad, 0);
  EXPECT_EQ(special.unknown, std::nullopt);
  EXPECT_TRUE(special.add_bos);
  EXPECT_TRUE(special.add_eos);
  EXPECT_EQ(*read_max_length(json), kUsualMaxLength);
  write("tokenizer_config.json", "{");
  EXPECT_FALSE(read_tokenizer(json).ok());
}

TEST_F(TokenizerFiles, ConfigOfASentencePieceModel) {
  const std::string model = write("tokenizer.model", sentencepiece_file());
  write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true,
    "added_tokens_decoder": {"5": {"content": "<|user|>", "special": true, "rstrip": true}}})");
  const auto tokenizer = read_tokenizer(model);
  EXPECT_EQ(ids(tokenizer, "a<|user|> a"), (Ids{3, 4, 5, 3, 4, 2})) << "added tokens take blanks along, the text after begins anew";
  EXPECT_EQ(*(*tokenizer)->decode(Ids{4, 5, 4}), "aa");
  write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
  EXPECT_EQ(ids(read_tokenizer(model), "a"), (Ids{3, 4, 2}));
  for (const char* wrong : {R"({"added_tokens_decoder": {"x": {"content": "y"}}})", R"({"added_tokens_decoder": {"5": 6}})",
                            R"({"added_tokens_decoder": []})", R"({"add_bos_token": 1})"}) {
    write("tokenizer_config.json", wrong);
    EXPECT_FALSE(read_tokenizer(model).ok()) << wrong;
  }
}

TEST_F(TokenizerFiles, ToldApartByTheirContent) {
  wire::GgufMetadata metadata;
  metadata.set("tokenizer.ggml.model", wire::GgufValue::text("gpt2"));
  metadata.set("tokenizer.ggml.tokens", wire::GgufValue::texts({"a", "b", "ab"}));
  metadata.set("tokenizer.ggml.merges", wire::GgufValue::texts({"a b"}));
  EXPECT_EQ(ids(read_tokenizer(write("x", *wire::gguf_head_bytes(metadata, {}))), "ab"), (Ids{2}));
  std::string llama2c("\x0A\0\0\0", 4);
  for (const std::string& token : {std::string("<unk>"), std::string("<s>"), std::string("</s>"), std::string(" "), std::string("a")}) {
    llama2c += std::string(4, '\0') + static_cast<char>(token.size()) + std::string(3, '\0') + token;
  }
  EXPECT_EQ(ids(read_tokenizer(write("y", llama2c)), "a"), (Ids{1, 3, 4})) << "its longest token has as many bytes as a SentencePiece model's first tag says";
  EXPECT_EQ(ids(read_tokenizer(write("z", sentencepiece_file())), "a"), (Ids{1, 3, 4}));
  for (const std::string& other : {std::string(), std::string("x"), std::string("\x0A\x05"), std::string("GGUF"), std::string(100, '\0'), std::string("<html>")}) {
    EXPECT_FALSE(read_tokenizer(write("w", other)).ok()) << other;
  }
  EXPECT_EQ(read_tokenizer(path() + "/none").error().code(), ErrorCode::kNotFound);
}

TEST_F(TokenizerFiles, SharedByThreads) {
  const auto tokenizer = read_tokenizer(write("tokenizer.json", small_tokenizer()));
  ASSERT_TRUE(tokenizer.ok());
  const Ids expected = ids(tokenizer, "un cafe unwanted");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) wrong[t] += (*tokenizer)->encode("un cafe unwanted")->ids == expected ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// Real vocabularies, known ids.
TEST(SharedTokenizers, KnownIds) {
  const auto llama7m = tests::shared_data("llm/llama7m"), gpt2 = tests::shared_data("tokenizers/gpt2"), llama2 = tests::shared_data("tokenizers/llama2");
  if (!llama7m || !gpt2 || !llama2) GTEST_SKIP() << "skipped: shared data not found";
  const auto small = read_tokenizer(llama7m->string());
  ASSERT_TRUE(small.ok()) << small.error().to_string();
  EXPECT_EQ((*small)->parts().special.eos, 0);
  EXPECT_EQ((*small)->id_count(), 4096u);
  EXPECT_EQ(ids(read_tokenizer(gpt2->string()), "Hello, world!"), (Ids{15496, 11, 995, 0}));
  EXPECT_EQ(ids(read_tokenizer((*gpt2 / "vocab.json").string()), "Hello, world!"), (Ids{15496, 11, 995, 0}));
  EXPECT_EQ(ids(read_tokenizer((*llama2 / "tokenizer.model").string()), "Hello, world!"), (Ids{1, 15043, 29892, 3186, 29991}));
  EXPECT_EQ(ids(read_tokenizer((*llama2 / "tokenizer.bin").string()), "Hello, world!"), (Ids{1, 15043, 29892, 3186, 29991}));
}

TEST(SharedTokenizers, ThereAndBackQuickly) {
  const auto folder = tests::shared_data("llm/llama7m"), text = tests::shared_data("text/wikitext-2/valid.txt");
  if (!folder || !text) GTEST_SKIP() << "skipped: shared data not found";
  std::ifstream in(*text, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto tokenizer = read_tokenizer(folder->string());
  ASSERT_TRUE(tokenizer.ok());
  const auto start = std::chrono::steady_clock::now();
  const auto encoding = (*tokenizer)->encode(whole);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(encoding.ok());
  EXPECT_EQ(encoding->ids.size(), 342'733u);
  EXPECT_LT(taken.count(), 10) << "a tenth of a second where nothing else runs";
  EXPECT_EQ(*(*tokenizer)->decode(encoding->ids), whole);
}

}  // namespace
}  // namespace narrow::tokenizers
