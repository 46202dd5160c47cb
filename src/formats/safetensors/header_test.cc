// What a header may and may not say.
#include "formats/safetensors/header.h"

#include <gtest/gtest.h>

#include <cstring>

namespace narrow::formats::safetensors {
namespace {

std::vector<std::uint8_t> file_of(const std::string& header, std::size_t data_bytes) {
  std::vector<std::uint8_t> bytes(8 + header.size() + data_bytes);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

Result<Header> parse(const std::string& header, std::size_t data_bytes) { return parse_header(file_of(header, data_bytes), "x.safetensors"); }

TEST(SafetensorsHeader, ReadsWhatItSays) {
  const auto header = parse(R"({"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},"__metadata__":{"format":"pt","n":"ü"},"a":{"data_offsets":[0,4],"shape":[],"dtype":"I32"},"none":{"dtype":"BF16","shape":[0,7],"data_offsets":[4,4]}}   )", 16);
  ASSERT_TRUE(header.ok()) << header.error().to_string();
  ASSERT_EQ(header->entries.size(), 3u);
  EXPECT_EQ(header->entries[0].tensor.name, "a");
  EXPECT_EQ(header->entries[0].tensor.dtype, DType::kS32);
  EXPECT_EQ(header->entries[0].offset, header->bytes);
  EXPECT_EQ(header->entries[1].tensor.name, "none");
  EXPECT_EQ(header->entries[1].bytes, 0u);
  EXPECT_EQ(header->entries[2].tensor.shape, (Shape{2, 3}));
  EXPECT_EQ(header->entries[2].offset, header->bytes + 4);
  EXPECT_EQ(header->metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"n", "ü"}}));
}

TEST(SafetensorsHeader, AnEmptyOneIsAFileWithoutTensors) { EXPECT_TRUE(parse("{}", 0)->entries.empty()); }

TEST(SafetensorsHeader, Refuses) {
  struct Case {
    const char* header;
    std::size_t data;
    const char* says;
  };
  const Case kCases[] = {
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"shape":[1]}})", 4, "twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "overlap"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "gap"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "last tensor ends"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "beyond the file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "before it starts"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "takes 8 bytes"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "takes 2 bytes"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, "more than 2^63"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "63 bits"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "fraction"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "a list"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "lacks"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4, "more than two"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "lacks"},
      {R"({"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}})", 4, "not known"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}})", 4, "has a field"},
      {R"({"a":7})", 4, "a number"},
      {R"({"__metadata__":{"a":1}})", 0, "a number"},
      {R"({"__metadata__":{"a":"b","a":"b"}})", 0, "twice"},
      {R"({"__metadata__":{"a":{"b":"c"}}})", 0, "an object"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} {})", 4, "not valid JSON"},
      {"{\"\xFF\":{}}", 0, "not valid JSON"},
      {"[1]", 0, "not a safetensors file"},
      {"{", 0, "not a safetensors file"},
      {"{\"a\"", 0, "not valid JSON"},
  };
  for (const Case& c : kCases) {
    const auto header = parse(c.header, c.data);
    ASSERT_FALSE(header.ok()) << c.header;
    EXPECT_NE(header.error().message().find(c.says), std::string::npos) << c.header << "\n" << header.error().to_string();
    EXPECT_NE(header.error().message().find("x.safetensors"), std::string::npos);
  }
}

TEST(SafetensorsHeader, RefusesLengthsThatLie) {
  std::vector<std::uint8_t> bytes = file_of("{}", 0);
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{1} << 62, ~std::uint64_t{0}, std::uint64_t{100'000'001}}) {
    std::memcpy(bytes.data(), &length, 8);
    EXPECT_FALSE(parse_header(bytes, "x").ok()) << length;
  }
  for (std::size_t n = 0; n < 10; ++n) EXPECT_FALSE(parse_header(std::span(bytes).first(n), "x").ok()) << n;
}

TEST(SafetensorsHeader, DeepNestingIsRefusedAtOnce) {
  std::string deep;
  for (int i = 0; i < 200000; ++i) deep += "{\"a\":";
  EXPECT_FALSE(parse(deep, 0).ok());
}

// Every type, with sizes that do not divide: each tensor lies at a multiple of its width, and the header reads back.
TEST(SafetensorsLayout, AlignsEveryTypeAndReadsBack) {
  std::vector<TensorSpec> tensors;
  for (int i = 1; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!dtype_name(dtype).empty()) tensors.push_back({.name = std::string("t\"") + std::string(to_string(dtype)), .dtype = dtype, .shape = {3, 1}});
  }
  tensors.push_back({.name = "empty", .dtype = DType::kF32, .shape = {0, 5}});
  tensors.push_back({.name = "scalar", .dtype = DType::kF64, .shape = {}});
  ASSERT_GE(tensors.size(), 20u);
  const auto layout = make_layout(tensors, {{"format", "pt"}});
  ASSERT_TRUE(layout.ok()) << layout.error().to_string();
  EXPECT_EQ(layout->header.size() % 8, 0u);
  std::vector<std::uint8_t> file(layout->header.begin(), layout->header.end());
  file.resize(layout->file_bytes);
  const auto header = parse_header(file, "x");
  ASSERT_TRUE(header.ok()) << header.error().to_string();
  ASSERT_EQ(header->entries.size(), tensors.size());
  EXPECT_EQ(header->metadata.at("format"), "pt");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Entry& laid = layout->entries[i];
    EXPECT_EQ(laid.tensor.name, tensors[i].name);
    EXPECT_EQ(laid.offset % std::max(bits_of(tensors[i].dtype) / 8, 1), 0u) << tensors[i].name;
    const auto found = std::find_if(header->entries.begin(), header->entries.end(), [&](const Entry& e) { return e.tensor.name == tensors[i].name; });
    ASSERT_NE(found, header->entries.end());
    EXPECT_EQ(found->offset, laid.offset);
    EXPECT_EQ(found->bytes, laid.bytes);
    EXPECT_EQ(found->tensor.dtype, tensors[i].dtype);
    EXPECT_EQ(found->tensor.shape, tensors[i].shape);
  }
}

TEST(SafetensorsLayout, RefusesWhatTheFormatCannotHold) {
  const auto refused = [](std::vector<TensorSpec> tensors) { return !make_layout(tensors, {}).ok(); };
  EXPECT_TRUE(refused({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}));
  EXPECT_TRUE(refused({{"__metadata__", DType::kF32, {1}}}));
  EXPECT_TRUE(refused({{"a", DType::kS4, {2}}}));
  EXPECT_TRUE(refused({{"a", DType::kString, {2}}}));
  EXPECT_TRUE(refused({{"a\xFF", DType::kF32, {1}}}));
  EXPECT_TRUE(refused({{"a", DType::kF32, {std::int64_t{1} << 62}}}));
  EXPECT_TRUE(refused({{"a", DType::kF32, {-1}}}));
}

}  // namespace
}  // namespace narrow::formats::safetensors
