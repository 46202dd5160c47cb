// GGUF files written and read back, and the shared model against its Hugging Face copy.
#include "formats/gguf/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "formats/rotary_order.h"
#include "formats/safetensors/checkpoint.h"
#include "support/shared_data.h"

namespace narrow::formats::gguf {
namespace {

namespace fs = std::filesystem;
using encodings::GgmlType;
using wire::GgufMetadata;
using wire::GgufValue;

class GgufFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "narrow-gguf-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    metadata_.set("general.architecture", GgufValue::text("test"));
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path() const { return (folder_ / "model.gguf").string(); }

  // Every type that can be encoded, with rows of 512, and tensors of odd sizes between them.
  std::vector<TensorPlan> plans() const {
    std::vector<TensorPlan> plans = {{"odd", GgmlType::kF32, {3}}, {"scalar", GgmlType::kF32, {}}};
    for (const encodings::GgmlBlocks& type : encodings::ggml_types()) {
      if (type.quantize == nullptr) continue;
      plans.push_back({std::string(type.name), type.type, {2, 3, 512}});
      plans.push_back({"odd." + std::string(type.name), GgmlType::kF16, {1, 1, 1, 5}});
    }
    return plans;
  }

  fs::path folder_;
  GgufMetadata metadata_;
};

TEST_F(GgufFile, WhatIsWrittenInPartsReadsBack) {
  for (const std::uint32_t alignment : {32u, 256u}) {
    metadata_.set("general.alignment", GgufValue::u32(alignment));
    auto writer = FileWriter::create(path(), metadata_, plans());
    ASSERT_TRUE(writer.ok()) << writer.error().to_string();
    std::mt19937 random(7);
    std::vector<std::vector<std::uint8_t>> written;
    std::vector<std::vector<float>> decoded;
    for (std::size_t i = 0; i < writer->entries().size(); ++i) {
      const TensorEntry& entry = writer->entries()[i];
      EXPECT_EQ(entry.offset % alignment, 0u);
      std::vector<float> values(static_cast<std::size_t>(entry.rows() * entry.row_values()));
      for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500.0f;
      written.emplace_back(entry.bytes);
      for (std::int64_t r = 0; r < entry.rows(); ++r) entry.type->quantize(values.data() + r * entry.row_values(), nullptr, entry.row_values(), written[i].data() + static_cast<std::uint64_t>(r) * entry.row_bytes());
      decoded.emplace_back(values.size());
      entry.type->dequantize(written[i].data(), static_cast<std::int64_t>(values.size()), decoded[i].data());
    }
    for (std::size_t i = written.size(); i-- > 0;) {
      const std::size_t half = written[i].size() / 2;
      ASSERT_TRUE(writer->write(i, half, std::span(written[i]).subspan(half)).ok());
      ASSERT_TRUE(writer->write(i, 0, std::span(written[i]).first(half)).ok());
      EXPECT_FALSE(writer->write(i, half + 1, std::span(written[i]).subspan(half)).ok());
    }
    ASSERT_TRUE(writer->finish().ok());
    EXPECT_EQ(fs::file_size(path()) % alignment, 0u);

    const auto file = File::open(path());
    ASSERT_TRUE(file.ok()) << file.error().to_string();
    EXPECT_EQ(*file->metadata().text("general.architecture"), "test");
    ASSERT_EQ(file->entries().size(), written.size());
    for (std::size_t i = 0; i < written.size(); ++i) {
      const TensorEntry& entry = file->entries()[i];
      EXPECT_EQ(entry.shape, plans()[i].shape);
      EXPECT_TRUE(std::ranges::equal(file->bytes(entry), written[i])) << entry.name;
      const auto tensor = file->tensor(entry.name);
      ASSERT_TRUE(tensor.ok()) << tensor.error().to_string();
      EXPECT_EQ(tensor->shape(), entry.shape);
      EXPECT_EQ(tensor->to_float(), decoded[i]) << entry.name;
      std::vector<float> row(static_cast<std::size_t>(entry.row_values()));
      ASSERT_TRUE(file->decode_rows(entry, entry.rows() - 1, 1, row.data()).ok());
      EXPECT_TRUE(std::equal(row.begin(), row.end(), decoded[i].end() - entry.row_values()));
      file->release(entry.name);
      EXPECT_TRUE(std::ranges::equal(file->bytes(entry), written[i])) << entry.name;
    }
    EXPECT_EQ(file->tensor("Q4_X").error().code(), ErrorCode::kNotFound);
  }
}

TEST_F(GgufFile, RefusesToWriteWhatCannotBeRead) {
  const auto refused = [&](std::vector<TensorPlan> plans) { return !FileWriter::create(path(), metadata_, plans).ok(); };
  EXPECT_TRUE(refused({{"a", GgmlType::kQ4_0, {2, 33}}}));
  EXPECT_TRUE(refused({{"a", GgmlType::kQ4K, {2, 128}}}));
  EXPECT_TRUE(refused({{"a", GgmlType::kF32, {0, 4}}}));
  EXPECT_TRUE(refused({{"a", GgmlType::kF32, {std::int64_t{1} << 61}}}));
  EXPECT_TRUE(refused({{"a", GgmlType::kF32, {1}}, {"a", GgmlType::kF32, {1}}}));
  {
    auto writer = FileWriter::create(path(), metadata_, {{"a", GgmlType::kF32, {4}}});
    ASSERT_TRUE(writer.ok());
    EXPECT_FALSE(writer->finish().ok());
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

std::string file_of(std::vector<wire::GgufTensor> tensors, std::size_t data_bytes) { return *wire::gguf_head_bytes({}, tensors) + std::string(data_bytes, '\0'); }

TEST(GgufTensors, MustFollowEachOtherWithinTheFile) {
  const auto read = [](const std::string& bytes) { return File::read(nullptr, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "x.gguf"); };
  const auto refused = [&](const std::string& bytes, std::string_view says) {
    const auto file = read(bytes);
    if (file.ok()) return testing::AssertionFailure() << "accepted, expected: " << says;
    if (file.error().message().find(says) == std::string::npos) return testing::AssertionFailure() << file.error().message() << "; expected: " << says;
    return testing::AssertionSuccess();
  };
  const std::string whole = file_of({{"a", {5}, 0, 0}, {"b", {32, 2}, 2, 32}}, 68);  // 20 bytes, 12 of padding, 36 bytes
  EXPECT_TRUE(read(whole).ok());
  EXPECT_TRUE(refused(whole.substr(0, whole.size() - 1), "ends beyond the file"));
  EXPECT_TRUE(refused(file_of({{"a", {5}, 0, 32}}, 100), "expected 0"));
  EXPECT_TRUE(refused(file_of({{"a", {5}, 0, 0}, {"b", {5}, 0, 20}}, 100), "expected 32"));
  EXPECT_TRUE(refused(file_of({{"a", {5}, 0, 0}, {"b", {5}, 0, 0}}, 100), "expected 32"));
  EXPECT_TRUE(refused(file_of({{"a", {5}, 0, 0}, {"b", {5}, 0, 64}}, 100), "expected 32"));
  EXPECT_TRUE(refused(file_of({{"a", {33}, 2, 0}}, 100), "blocks of 32"));
  EXPECT_TRUE(refused(file_of({{"a", {16, 2}, 2, 0}}, 100), "blocks of 32"));
  EXPECT_TRUE(refused(file_of({{"a", {32}, 200, 0}}, 100), "type 200"));
  EXPECT_TRUE(refused(file_of({{"a", {32}, 4, 0}}, 100), "type 4"));
  EXPECT_TRUE(refused(file_of({{"a", {std::int64_t{1} << 61}, 28, 0}}, 100), "ends beyond the file"));
  const std::string numbers = file_of({{"a", {256}, 24, 0}}, 256);
  const auto file = read(numbers);
  ASSERT_TRUE(file.ok());
  std::vector<float> row(256);
  const Status decoded = file->decode_rows(*file->find("a"), 0, 1, row.data());
  EXPECT_EQ(decoded.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(decoded.error().message().find("I8"), std::string::npos);
}

TEST(GgufShared, HoldsTheSameModelAsItsHuggingFaceCopy) {
  const auto folder = tests::shared_data("llm/stories260K");
  if (!folder) GTEST_SKIP() << "skipped: shared data not found";
  const auto expected = safetensors::Checkpoint::open((*folder / "hf").string());
  const auto f32 = File::open((*folder / "gguf/stories260K-f32.gguf").string()), f16 = File::open((*folder / "gguf/stories260K-f16.gguf").string());
  ASSERT_TRUE(expected.ok() && f32.ok() && f16.ok());
  EXPECT_EQ(*f32->metadata().text("general.architecture"), "llama");
  EXPECT_EQ(*f32->metadata().whole("llama.attention.head_count_kv"), 4);
  EXPECT_EQ(f32->metadata().texts("tokenizer.ggml.tokens")->size(), 512u);
  EXPECT_EQ(f32->metadata().reals("tokenizer.ggml.scores")->size(), 512u);
  const auto same = [&](const std::string& gguf_name, const std::string& name, std::int64_t head) {
    const Tensor found = *f32->tensor(gguf_name), want = *expected->tensor(name), half = *f16->tensor(gguf_name);
    ASSERT_EQ(found.shape(), want.shape());
    const std::int64_t columns = want.shape().back();
    for (std::int64_t i = 0; i < want.size(); ++i) {
      const std::int64_t row = i / columns, from = head != 0 ? interleaved_row(row, head) : row;
      ASSERT_EQ(found.data<float>()[static_cast<std::size_t>(from * columns + i % columns)], want.data<float>()[static_cast<std::size_t>(i)]) << name << " " << i;
    }
    if (half.dtype() == DType::kF16) {
      for (std::int64_t i = 0; i < want.size(); ++i) ASSERT_EQ(half.data<base::Float16>()[static_cast<std::size_t>(i)].bits, base::to_float16(found.data<float>()[static_cast<std::size_t>(i)]).bits);
    }
  };
  same("token_embd.weight", "model.embed_tokens.weight", 0);
  same("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight", 8);
  same("blk.3.attn_k.weight", "model.layers.3.self_attn.k_proj.weight", 8);
  same("blk.4.ffn_down.weight", "model.layers.4.mlp.down_proj.weight", 0);
  same("output_norm.weight", "model.norm.weight", 0);
}

}  // namespace
}  // namespace narrow::formats::gguf
