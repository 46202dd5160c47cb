// Where the shared data (real models, images, malformed files) lies, for tests that need it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace narrow::tests {

// `relative` under the folder that NARROW_DATA names, else under shared/data beside the repository; nothing when it is
// not there. A test then says so: GTEST_SKIP() << "skipped: shared data not found".
inline std::optional<std::filesystem::path> shared_data(const std::string& relative = "") {
  const char* named = std::getenv("NARROW_DATA");
  const std::filesystem::path root =
      named != nullptr && *named != 0 ? std::filesystem::path(named)
                                      : std::filesystem::path(NARROW_SOURCE_DIR).parent_path() / "shared" / "data";
  std::error_code ignored;
  const auto path = relative.empty() ? root : root / relative;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

}  // namespace narrow::tests
