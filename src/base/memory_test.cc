#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>

namespace narrow::base {
namespace {

TEST(FilePages, KeepWhatIsWrittenWhenTheirMemoryIsLetGo) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "narrow_file_pages";
  std::filesystem::create_directories(folder);
  constexpr std::size_t kBytes = 1 << 20;
  {
    const auto pages = file_pages(folder.string(), kBytes);
    ASSERT_TRUE(pages.ok()) << pages.error().to_string();
    auto* data = static_cast<std::uint8_t*>(pages->get());
    for (std::size_t i = 0; i < kBytes; ++i) {
      ASSERT_EQ(data[i], 0);
      data[i] = static_cast<std::uint8_t>(i * 7);
    }
    release_file_pages(data + 100, kBytes / 2);
    release_file_pages(data, kBytes);
    for (std::size_t i = 0; i < kBytes; ++i) ASSERT_EQ(data[i], static_cast<std::uint8_t>(i * 7)) << i;
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << "the file has a name";
  }
  std::filesystem::remove_all(folder);
}

TEST(FilePages, SayWhereTheyCannotBe) {
  const auto pages = file_pages("/nowhere/at/all", 4096);
  ASSERT_FALSE(pages.ok());
  EXPECT_EQ(pages.error().code(), ErrorCode::kIo);
  EXPECT_NE(pages.error().to_string().find("/nowhere/at/all"), std::string::npos);
  const auto huge = file_pages(std::filesystem::temp_directory_path().string(), std::size_t{1} << 60);
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace narrow::base
