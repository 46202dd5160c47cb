// Mapped reading and atomic writing.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/atomic_file.h"
#include "base/mapped_file.h"

namespace narrow::base {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "narrow-files-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  static std::string read(const std::string& p) {
    std::ostringstream text;
    text << std::ifstream(p, std::ios::binary).rdbuf();
    return text.str();
  }
  std::size_t entries() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }
  fs::path folder_;
};

TEST_F(Files, MapsWhatWasWritten) {
  ASSERT_TRUE(write_file(path("a"), "hello").ok());
  const auto file = MappedFile::open(path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(std::string((*file)->bytes().begin(), (*file)->bytes().end()), "hello");
}

TEST_F(Files, EmptyFileMapsToNothing) {
  ASSERT_TRUE(write_file(path("empty"), "").ok());
  EXPECT_EQ((*MappedFile::open(path("empty")))->bytes().size(), 0u);
}

TEST_F(Files, MissingFolderFifoAndUnreadableAreErrors) {
  EXPECT_EQ(MappedFile::open(path("no")).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::open(folder_.string()).error().code(), ErrorCode::kIo);
  ASSERT_EQ(mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(path("fifo")).error().code(), ErrorCode::kIo);  // and does not hang
}

TEST_F(Files, WithoutCommitTheOldFileStays) {
  ASSERT_TRUE(write_file(path("a"), "old").ok());
  {
    auto file = AtomicFile::create(path("a"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write(std::string(3 << 20, 'x')).ok());
    EXPECT_EQ(file->position(), 3u << 20);
  }
  EXPECT_EQ(read(path("a")), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, CommitReplacesWhole) {
  ASSERT_TRUE(write_file(path("a"), "old").ok());
  auto file = AtomicFile::create(path("a"));
  ASSERT_TRUE(file.ok());
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    const std::string part(1 + i % 700, static_cast<char>('a' + i % 26));
    expected += part;
    ASSERT_TRUE(file->write(part).ok());
  }
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(read(path("a")), expected);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, UnwritableDestinationsAreErrors) {
  EXPECT_EQ(AtomicFile::create(path("no/such/folder/x")).error().code(), ErrorCode::kIo);
  EXPECT_EQ(AtomicFile::create(folder_.string()).error().code(), ErrorCode::kIo);
}

TEST_F(Files, AnInterruptRemovesWhatWasOpen) {
  auto file = AtomicFile::create(path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(entries(), 1u);
  remove_temporary_files();
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, AFullDiskIsReportedAndLeavesNothing) {
  auto file = AtomicFile::create(path("a"));
  ASSERT_TRUE(file.ok());
  // The file size limit stands in for a full disk: write() fails half way.
  struct sigaction ignore {}, before {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &ignore, &before);
  struct rlimit old_limit {}, limit {};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  limit = old_limit;
  limit.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_FSIZE, &limit);
  Status status = file->write(std::string(4 << 20, 'x'));
  if (status.ok()) status = file->commit();
  setrlimit(RLIMIT_FSIZE, &old_limit);
  sigaction(SIGXFSZ, &before, nullptr);
  EXPECT_FALSE(status.ok());
  { auto drop = std::move(*file); }
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, ReleasesWhatIsMappedAndNothingElse) {
  ASSERT_TRUE(write_file(path("a"), std::string(1 << 20, 'x')).ok());
  const auto file = MappedFile::open(path("a"));
  ASSERT_TRUE(file.ok());
  const std::string copy((*file)->bytes().begin(), (*file)->bytes().end());
  const auto resident = [] {  // pages of files
    std::ifstream status("/proc/self/statm");
    long size = 0, all = 0, shared = 0;
    status >> size >> all >> shared;
    return shared;
  };
  const long before = resident();
  MappedFile::release_if_mapped((*file)->bytes().subspan(4096, 900000));
  if (before > 0) {
    EXPECT_LT(resident(), before - 150);
  }
  EXPECT_EQ(std::string((*file)->bytes().begin(), (*file)->bytes().end()), copy);
  std::vector<std::uint8_t> own(1 << 20, 7);
  MappedFile::release_if_mapped(own);
  EXPECT_EQ(own, std::vector<std::uint8_t>(1 << 20, 7));
}

}  // namespace
}  // namespace narrow::base
