#include "language/text_data.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "wire/npy.h"

namespace narrow::language {
namespace {

std::string file(const std::string& name, const std::string& bytes) {
  const std::string path = (std::filesystem::path(::testing::TempDir()) / name).string();
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(TextData, ReadsTokenFiles) {
  const std::string words("\x01\x00\x02\x01\xff\xff", 6);
  const auto found = read_tokens(file("a.bin", words), nullptr);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, (std::vector<std::int64_t>{1, 258, 65535}));
  EXPECT_FALSE(read_tokens(file("odd.bin", "abc"), nullptr).ok());

  const std::int32_t items[] = {7, 8, 9};
  const std::string npy = wire::npy_header('i', 4, {3}) + std::string(reinterpret_cast<const char*>(items), sizeof items);
  const auto ids = read_tokens(file("a.npy", npy), nullptr);
  ASSERT_TRUE(ids.ok()) << ids.error().to_string();
  EXPECT_EQ(*ids, (std::vector<std::int64_t>{7, 8, 9}));
  EXPECT_FALSE(read_tokens(file("f.npy", wire::npy_header('f', 4, {1}) + "abcd"), nullptr).ok());
  EXPECT_FALSE(read_tokens(file("a.txt", "text"), nullptr).ok()) << "text without a tokenizer";
  EXPECT_FALSE(read_tokens("/does/not/exist.txt", nullptr).ok());
}

TEST(TextData, DrawsFromAllOfTheText) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < 1000; ++i) tokens.push_back(i);
  const auto drawn = draw_sequences(tokens, 10, 50, 1);
  ASSERT_TRUE(drawn.ok());
  ASSERT_EQ(drawn->size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) {
    const auto& sequence = (*drawn)[i];
    ASSERT_EQ(sequence.size(), 50u);
    EXPECT_GE(sequence.front(), static_cast<std::int64_t>(i) * 95 - 1);
    EXPECT_LE(sequence.front(), static_cast<std::int64_t>(i + 1) * 96);
    for (std::size_t j = 1; j < 50; ++j) EXPECT_EQ(sequence[j], sequence[j - 1] + 1);
  }
  EXPECT_EQ(*drawn, *draw_sequences(tokens, 10, 50, 1));
  EXPECT_NE(*drawn, *draw_sequences(tokens, 10, 50, 2));
  EXPECT_TRUE(draw_sequences(tokens, 3, 1000, 0).ok());
  EXPECT_FALSE(draw_sequences(tokens, 3, 1001, 0).ok());
}

}  // namespace
}  // namespace narrow::language
