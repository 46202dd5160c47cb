// Heads of GGUF files: written and read back, and all that is refused.
#include "wire/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

namespace narrow::wire {
namespace {

std::span<const std::uint8_t> as_bytes(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

GgufMetadata sample() {
  GgufMetadata m;
  m.set("general.architecture", GgufValue::text("llama"));
  m.set("u8", {GgufType::kU8, std::uint64_t{250}});
  m.set("s8", {GgufType::kS8, std::int64_t{-3}});
  m.set("u16", {GgufType::kU16, std::uint64_t{65000}});
  m.set("s16", {GgufType::kS16, std::int64_t{-30000}});
  m.set("u32", GgufValue::u32(4000000000u));
  m.set("s32", GgufValue::s32(-2));
  m.set("f32", GgufValue::f32(1.5f));
  m.set("flag", GgufValue::flag(true));
  m.set("u64", GgufValue::u64(~std::uint64_t{0}));
  m.set("s64", {GgufType::kS64, std::int64_t{-5000000000}});
  m.set("f64", {GgufType::kF64, 0.1});
  m.set("words", GgufValue::texts({"a", "", "b\xC3\xBC\n"}));
  m.set("scores", GgufValue::f32s(std::vector<float>{0.5f, -1.0f}));
  m.set("kinds", GgufValue::s32s(std::vector<std::int32_t>{1, -6, 3}));
  m.set("empty", GgufValue::u32s({}));
  return m;
}

std::vector<GgufTensor> sample_tensors() { return {{"a.weight", {64, 3}, 2, 0}, {"b", {5}, 0, 128}, {"scalar", {}, 1, 160}}; }

TEST(GgufHead, ReadsBackWhatWasWritten) {
  const auto bytes = gguf_head_bytes(sample(), sample_tensors());
  ASSERT_TRUE(bytes.ok()) << bytes.error().to_string();
  EXPECT_EQ(bytes->size() % 32, 0u);
  const auto head = parse_gguf_head(as_bytes(*bytes), "x.gguf");
  ASSERT_TRUE(head.ok()) << head.error().to_string();
  EXPECT_EQ(head->data, bytes->size());
  EXPECT_EQ(head->alignment, 32u);
  const GgufMetadata& m = head->metadata;
  EXPECT_EQ(m.pairs().size(), sample().pairs().size());
  EXPECT_EQ(*m.text("general.architecture"), "llama");
  EXPECT_EQ(*m.whole("u8"), 250);
  EXPECT_EQ(*m.whole("u16"), 65000);
  EXPECT_EQ(*m.whole("u32"), 4000000000);
  EXPECT_EQ(std::get<std::int64_t>(m.find("s8")->value), -3);
  EXPECT_EQ(std::get<std::int64_t>(m.find("s16")->value), -30000);
  EXPECT_EQ(std::get<std::int64_t>(m.find("s64")->value), -5000000000);
  EXPECT_EQ(*m.real("f32"), 1.5);
  EXPECT_EQ(*m.real("f64"), 0.1);
  EXPECT_EQ(*m.real("s32"), -2);
  EXPECT_TRUE(*m.flag("flag"));
  EXPECT_EQ(*m.texts("words"), (std::vector<std::string>{"a", "", "b\xC3\xBC\n"}));
  EXPECT_EQ(*m.reals("scores"), (std::vector<float>{0.5f, -1.0f}));
  EXPECT_EQ(*m.wholes("kinds"), (std::vector<std::int64_t>{1, -6, 3}));
  EXPECT_TRUE(m.wholes("empty")->empty());
  EXPECT_EQ(*m.whole_or("none", 7), 7);
  for (const auto& wrong : {m.whole("s32").ok(), m.whole("u64").ok(), m.whole("f32").ok(), m.whole("none").ok(), m.text("u8").ok(), m.flag("u8").ok(), m.texts("scores").ok(), m.reals("words").ok(), m.wholes("scores").ok(), m.real("flag").ok()}) {
    EXPECT_FALSE(wrong);
  }
  ASSERT_EQ(head->tensors.size(), 3u);
  EXPECT_EQ(head->tensors[0].dimensions, (std::vector<std::int64_t>{64, 3}));
  EXPECT_EQ(head->tensors[1].offset, 128u);
  EXPECT_TRUE(head->tensors[2].dimensions.empty());
}

TEST(GgufHead, EveryPrefixIsRefused) {
  const std::string whole = *gguf_head_bytes(sample(), sample_tensors());
  std::size_t end = whole.size();
  while (whole[end - 1] == 0) --end;
  end += 7;  // the last field is an offset of 160, one byte and seven zeros
  for (std::size_t n = 0; n < end; ++n) EXPECT_FALSE(parse_gguf_head(as_bytes(whole).first(n), "x").ok()) << n;
  EXPECT_TRUE(parse_gguf_head(as_bytes(whole).first(end), "x").ok());
}

template <typename T>
void put(std::string& out, T value) { out.append(reinterpret_cast<const char*>(&value), sizeof(T)); }
void put_text(std::string& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  out += text;
}
std::string head_of(std::uint64_t tensors, std::uint64_t pairs, std::uint32_t version = 3) {
  std::string out = "GGUF";
  put(out, version);
  put(out, tensors);
  put(out, pairs);
  return out;
}
// A pair's key and type, then `value`; room enough follows.
std::string one_pair(std::string_view key, std::uint32_t type, const std::string& value) {
  std::string out = head_of(0, 1);
  put_text(out, key);
  put(out, type);
  return out + value + std::string(64, '\0');
}
template <typename... T>
std::string fields(T... values) {
  std::string out;
  (put(out, values), ...);
  return out;
}
std::string one_tensor(std::string_view name, std::uint32_t rank, std::initializer_list<std::int64_t> dims) {
  std::string out = head_of(1, 0);
  put_text(out, name);
  put(out, rank);
  for (const std::int64_t d : dims) put(out, d);
  put<std::uint32_t>(out, 0);
  put<std::uint64_t>(out, 0);
  return out + std::string(64, '\0');
}

TEST(GgufHead, Refuses) {
  const auto refused = [](const std::string& bytes, std::string_view says) {
    const auto head = parse_gguf_head(as_bytes(bytes), "x.gguf");
    if (head.ok()) return testing::AssertionFailure() << "accepted, expected: " << says;
    if (head.error().message().find(says) == std::string::npos) return testing::AssertionFailure() << head.error().message() << "; expected: " << says;
    return testing::AssertionSuccess();
  };
  EXPECT_TRUE(refused("GGML" + std::string(40, '\0'), "not a GGUF file"));
  EXPECT_TRUE(refused(head_of(0, 0, 0), "version 0"));
  EXPECT_TRUE(refused(head_of(0, 0, 1), "version 1"));
  EXPECT_TRUE(refused(head_of(0, 0, 99), "version 99"));
  EXPECT_TRUE(refused(head_of(0, 0, 0x03000000), "big-endian"));
  EXPECT_TRUE(refused(head_of(std::uint64_t{1} << 60, 0), "do not fit"));
  EXPECT_TRUE(refused(head_of(0, ~std::uint64_t{0}), "do not fit"));
  EXPECT_TRUE(refused(one_pair("", 0, ""), "no key"));
  EXPECT_TRUE(refused(one_pair(std::string_view("a\0b", 3), 0, ""), "no key"));
  EXPECT_TRUE(refused(one_pair(std::string(70000, 'k'), 0, ""), "no key"));
  EXPECT_TRUE(refused(one_pair("k", 77, ""), "type 77"));
  EXPECT_TRUE(refused(one_pair("k", 7, "\x02"), "the bool 'k' is 2"));
  EXPECT_TRUE(refused(one_pair("k", 8, fields(std::uint64_t{1} << 63)), "ends within k"));
  EXPECT_TRUE(refused(one_pair("k", 9, fields(std::uint32_t{9}, std::uint64_t{1})), "list of lists"));
  EXPECT_TRUE(refused(one_pair("k", 9, fields(std::uint32_t{13}, std::uint64_t{1})), "type 13"));
  EXPECT_TRUE(refused(one_pair("k", 9, fields(std::uint32_t{10}, std::uint64_t{1} << 61)), "ends within k"));
  EXPECT_TRUE(refused(one_pair("k", 9, fields(std::uint32_t{8}, std::uint64_t{100})), "ends within k"));
  EXPECT_TRUE(refused(one_pair("k", 9, fields(std::uint32_t{7}, std::uint64_t{1}, std::uint8_t{3})), "bool"));
  for (const std::uint32_t alignment : {0u, 3u, 48u, 0x80000000u}) EXPECT_TRUE(refused(one_pair("general.alignment", 4, fields(alignment)), "general.alignment"));
  EXPECT_TRUE(refused(one_pair("general.alignment", 10, fields(std::uint64_t{32})), "general.alignment"));
  EXPECT_TRUE(refused(head_of(0, 2) + one_pair("k", 0, "\x01").substr(24, 14) + one_pair("k", 0, "\x01").substr(24), "twice"));
  EXPECT_TRUE(refused(one_tensor("", 1, {1}), "no tensor's name"));
  EXPECT_TRUE(refused(one_tensor(std::string(64, 't'), 1, {1}), "no tensor's name"));
  EXPECT_TRUE(refused(one_tensor("t", 40, {1}), "40 dimensions"));
  EXPECT_TRUE(refused(one_tensor("t", 1, {0}), "a dimension of 0"));
  EXPECT_TRUE(refused(one_tensor("t", 1, {-1}), "a dimension of -1"));
  EXPECT_TRUE(refused(one_tensor("t", 2, {std::int64_t{1} << 32, std::int64_t{1} << 32}), "overflow"));
  const std::string twice = head_of(2, 0) + one_tensor("t", 1, {1}).substr(24, 33) + one_tensor("t", 1, {1}).substr(24);
  EXPECT_TRUE(refused(twice, "two tensors"));
  EXPECT_TRUE(parse_gguf_head(as_bytes(one_tensor(std::string(63, 't'), 4, {1, 2, 3, 4})), "x").ok());
}

TEST(GgufHead, WritesNoHeadThatCannotBeRead) {
  EXPECT_FALSE(gguf_head_bytes(sample(), std::vector<GgufTensor>{{"a", {1}, 0, 0}, {"a", {1}, 0, 0}}).ok());
  EXPECT_FALSE(gguf_head_bytes(sample(), std::vector<GgufTensor>{{std::string(64, 'a'), {1}, 0, 0}}).ok());
  EXPECT_FALSE(gguf_head_bytes(sample(), std::vector<GgufTensor>{{"a", {1, 1, 1, 1, 1}, 0, 0}}).ok());
  GgufMetadata m = sample();
  m.set("general.alignment", GgufValue::u32(48));
  EXPECT_FALSE(gguf_head_bytes(m, {}).ok());
  m.set("general.alignment", GgufValue::u32(64));
  const auto bytes = gguf_head_bytes(m, sample_tensors());
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->size() % 64, 0u);
  EXPECT_EQ(parse_gguf_head(as_bytes(*bytes), "x")->alignment, 64u);
}

}  // namespace
}  // namespace narrow::wire
