// The shared malformed files, unpacked for as long as this lives, each with what must happen to it.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support/shared_data.h"

namespace narrow::tests {

struct MalformedFile {
  std::filesystem::path path;
  std::string expected;  // "reject", "accept" or "no-crash"
};

// Those whose name starts with `prefix`; none when the shared data is not there or tar cannot unpack it.
class MalformedFiles {
 public:
  explicit MalformedFiles(std::string_view prefix)
      : folder_(std::filesystem::temp_directory_path() / ("narrow_malformed_" + std::string(prefix) + std::to_string(::getpid()))) {
    const auto expectations = shared_data("malformed/EXPECT.tsv"), archive = shared_data("malformed/malformed.tar.zst");
    if (!expectations || !archive) return;
    std::filesystem::create_directories(folder_);
    if (std::system(("tar --zstd -xf '" + archive->string() + "' -C '" + folder_.string() + "'").c_str()) != 0) return;
    std::ifstream table(*expectations);
    for (std::string line; std::getline(table, line);) {
      std::istringstream row(line);
      std::string name, size, expected;
      std::getline(row, name, '\t');
      std::getline(row, size, '\t');
      std::getline(row, expected, '\t');
      if (name.starts_with(prefix)) files_.push_back({folder_ / "malformed" / name, expected});
    }
  }
  ~MalformedFiles() { std::filesystem::remove_all(folder_); }
  MalformedFiles(const MalformedFiles&) = delete;
  MalformedFiles& operator=(const MalformedFiles&) = delete;

  bool empty() const { return files_.empty(); }
  std::size_t size() const { return files_.size(); }
  auto begin() const { return files_.begin(); }
  auto end() const { return files_.end(); }

 private:
  std::filesystem::path folder_;
  std::vector<MalformedFile> files_;
};

}  // namespace narrow::tests
