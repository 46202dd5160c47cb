<<<<<<< HEAD
// Where the shared data (real models, images, malformed files) lies, for tests that need it.
=======
// Where the models and data that tests share lie: NARROW_DATA in the environment, or ../shared/data beside the sources.
>>>>>>> 20a1417 (Read ONNX: bounds-checked wire reader, graphs with captures, opsets 7 to 28 lifted to one meaning)
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

<<<<<<< HEAD
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
=======
namespace narrow::test {

// The path of a file or folder of the shared data, or null when it is not there (the test then skips itself).
inline std::optional<std::string> shared_data(const std::string& relative) {
  namespace fs = std::filesystem;
  const char* given = std::getenv("NARROW_DATA");
  const fs::path root = given != nullptr ? fs::path(given) : fs::path(NARROW_SOURCE_DIR) / "../shared/data";
  const fs::path path = root / relative;
  std::error_code code;
  if (!fs::exists(path, code)) return std::nullopt;
  return path.string();
}

}  // namespace narrow::test
>>>>>>> 20a1417 (Read ONNX: bounds-checked wire reader, graphs with captures, opsets 7 to 28 lifted to one meaning)
