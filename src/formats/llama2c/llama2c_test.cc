// llama2.c checkpoints against the same model in Hugging Face's form, and small ones made here.
#include "formats/llama2c/llama2c.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/rotary_order.h"
#include "formats/safetensors/checkpoint.h"
#include "support/shared_data.h"

namespace narrow::formats::llama2c {
namespace {

TEST(RotaryOrder, IsAPermutationWithinEachHeadAndItsInverse) {
  EXPECT_EQ(interleaved_row(0, 8), 0);
  EXPECT_EQ(interleaved_row(1, 8), 2);
  EXPECT_EQ(interleaved_row(4, 8), 1);
  EXPECT_EQ(interleaved_row(15, 8), 15);
  for (const std::int64_t head : {2, 4, 6, 64}) {
    for (std::int64_t row = 0; row < 3 * head; ++row) {
      EXPECT_EQ(half_split_row(interleaved_row(row, head), head), row);
      EXPECT_EQ(interleaved_row(row, head) / head, row / head);
    }
  }
}

// A model of 2 layers, 4 heads of 2, 2 of keys; its values count up in the file's order.
struct Writer {
  std::vector<std::uint8_t> bytes;
  float next = 0;

  template <typename T>
  void put(T value) {
    bytes.resize(bytes.size() + sizeof(T));
    std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
  }
  void dimensions(std::int32_t vocabulary) {
    for (const std::int32_t v : {8, 12, 2, 4, 2, vocabulary, 16}) put(v);
  }
  void floats(int count) {
    for (int i = 0; i < count; ++i) put(next++);
  }
  void quantized(int count, int group) {
    for (int i = 0; i < count; ++i) put(static_cast<std::int8_t>(i % 200 - 100));
    for (int i = 0; i < count / group; ++i) put(0.5f + static_cast<float>(i));
  }
};
constexpr int kLayer = 8 * 8 + 2 * 4 * 8 + 8 * 8 + 3 * 12 * 8;  // values in the matrices of a layer

std::vector<std::uint8_t> legacy(std::int32_t vocabulary) {
  Writer w;
  w.dimensions(vocabulary);
  w.floats(std::abs(vocabulary) * 8 + 2 * 8 + 2 * kLayer + 2 * 8 + 8 + 2 * 16 * 1 + (vocabulary < 0 ? -vocabulary * 8 : 0));
  return w.bytes;
}

std::vector<std::uint8_t> modern(std::int32_t version, bool shared) {
  Writer w;
  w.put(0x616B3432);
  w.put(version);
  w.dimensions(5);
  w.put(static_cast<std::uint8_t>(shared));
  w.put(4);
  w.bytes.resize(256);
  w.floats(2 * 8 + 2 * 8 + 8);
  if (version == 1) {
    w.floats(5 * 8 + 2 * kLayer + (shared ? 0 : 40));
    return w.bytes;
  }
  for (const int count : {40, 64, 64, 32, 32, 32, 32, 64, 64, 96, 96, 96, 96, 96, 96}) w.quantized(count, 4);
  if (!shared) w.quantized(40, 4);
  return w.bytes;
}

Result<Checkpoint> read(const std::vector<std::uint8_t>& bytes) { return Checkpoint::read(nullptr, bytes, "x.bin"); }

TEST(Llama2c, LegacyOrder) {
  const auto bytes = legacy(5);
  const auto c = read(bytes);
  ASSERT_TRUE(c.ok()) << c.error().to_string();
  EXPECT_TRUE(c->config().tied);
  EXPECT_EQ(c->names().size(), 20u);
  EXPECT_EQ(c->tensor("model.embed_tokens.weight")->at_as_double(7), 7);
  EXPECT_EQ(c->tensor("model.layers.1.input_layernorm.weight")->at_as_double(0), 48);
  const Tensor q = *c->tensor("model.layers.0.self_attn.q_proj.weight");  // starts at 56; heads of 2 rows are in one order both ways
  EXPECT_EQ(q.at_as_double(8), 64);
  EXPECT_FALSE(c->contains("lm_head.weight"));
  EXPECT_EQ(c->tensor("lm_head.weight").error().code(), ErrorCode::kNotFound);
  const auto untied_bytes = legacy(-5);
  const auto untied = read(untied_bytes);
  ASSERT_TRUE(untied.ok()) << untied.error().to_string();
  EXPECT_EQ(untied->config().vocabulary, 5);
  EXPECT_EQ(untied->tensor("lm_head.weight")->at_as_double(0), 40 + 16 + 2 * kLayer + 16 + 8 + 32);
}

TEST(Llama2c, ModernOrder) {
  const auto bytes = modern(1, false);
  const auto c = read(bytes);
  ASSERT_TRUE(c.ok()) << c.error().to_string();
  EXPECT_EQ(c->tensor("model.layers.0.post_attention_layernorm.weight")->at_as_double(0), 16);
  EXPECT_EQ(c->tensor("model.norm.weight")->at_as_double(0), 32);
  EXPECT_EQ(c->tensor("model.embed_tokens.weight")->at_as_double(0), 40);
  EXPECT_EQ(c->tensor("model.layers.1.mlp.up_proj.weight")->at_as_double(0), 80 + 2 * kLayer - 96);
  EXPECT_EQ(c->tensor("lm_head.weight")->at_as_double(0), 80 + 2 * kLayer);
}

TEST(Llama2c, QuantizedGroups) {
  const auto bytes = modern(2, true);
  const auto c = read(bytes);
  ASSERT_TRUE(c.ok()) << c.error().to_string();
  const Tensor down = *c->tensor("model.layers.1.mlp.down_proj.weight");
  for (int i = 0; i < 96; ++i) EXPECT_EQ(down.data<float>()[i], static_cast<float>(i % 200 - 100) * (0.5f + static_cast<float>(i / 4))) << i;
}

TEST(Llama2c, EveryOtherLengthIsRefused) {
  for (const auto& whole : {legacy(5), legacy(-5), modern(1, true), modern(2, true)}) {
    ASSERT_TRUE(read(whole).ok());
    for (std::size_t n = 0; n < whole.size(); ++n) {
      EXPECT_FALSE(read({whole.begin(), whole.begin() + n}).ok()) << n;
    }
    auto longer = whole;
    longer.push_back(0);
    EXPECT_FALSE(read(longer).ok());
  }
}

TEST(Llama2c, DimensionsThatMakeNoModelAreRefused) {
  const auto whole = legacy(5);
  for (std::size_t field = 0; field < 7; ++field) {
    for (const std::int32_t value : {0, -1, 3, 7, 0x7FFFFFFF, std::int32_t(0x80000000)}) {
      auto bytes = whole;
      std::memcpy(bytes.data() + 4 * field, &value, 4);
      EXPECT_FALSE(read(bytes).ok()) << field << " " << value;
    }
  }
  auto bytes = modern(1, true);
  bytes[4] = 3;
  EXPECT_EQ(read(bytes).error().code(), ErrorCode::kUnsupported);
}

TEST(Llama2c, EqualsTheHuggingFaceCopyBitForBit) {
  const auto folder = tests::shared_data("llm/stories260K");
  if (!folder) GTEST_SKIP() << "skipped: shared data not found";
  const auto expected = safetensors::Checkpoint::open((*folder / "hf").string());
  ASSERT_TRUE(expected.ok());
  for (const char* name : {"stories260K.bin", "stories260K_v1.bin"}) {
    const auto found = Checkpoint::open((*folder / "llama2c" / name).string());
    ASSERT_TRUE(found.ok()) << found.error().to_string();
    EXPECT_TRUE(found->config().tied);
    EXPECT_NE(found->config_json().find("\"num_key_value_heads\": 4"), std::string::npos);
    EXPECT_EQ(found->names().size(), expected->entries().size());
    for (const safetensors::Entry& entry : expected->entries()) {
      const auto tensor = found->tensor(entry.tensor.name);
      ASSERT_TRUE(tensor.ok()) << entry.tensor.name;
      EXPECT_EQ(tensor->shape(), entry.tensor.shape);
      EXPECT_TRUE(std::ranges::equal(tensor->byte_span(), expected->tensor(entry.tensor.name)->byte_span())) << name << " " << entry.tensor.name;
    }
  }
}

}  // namespace
}  // namespace narrow::formats::llama2c
