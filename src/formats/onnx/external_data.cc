#include "formats/onnx/external_data.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <system_error>

namespace narrow::formats::onnx {
namespace {

namespace fs = std::filesystem;

bool inside(const fs::path& path, const fs::path& root) {
  auto p = path.begin();
  for (auto r = root.begin(); r != root.end(); ++r) {
    if (r->empty()) continue;  // a trailing separator
    if (p == path.end() || *p != *r) return false;
    ++p;
  }
  return p != path.end();
}

// A location is written with '/' by every exporter; a backslash or drive letter would mean something else elsewhere.
Status check_location(const std::string& location, const std::string& tensor) {
  const auto refuse = [&](std::string_view why) {
    return corrupt(fmt::format("tensor '{}': external data location '{}' {}", tensor, location, why))
        .hint("Keep the data file in the model's folder and name it by a relative path.");
  };
  if (location.empty()) return refuse("is empty");
  if (location.find('\0') != std::string::npos) return refuse("contains a zero byte");
  if (location.front() == '/' || location.front() == '\\' || (location.size() > 1 && location[1] == ':')) {
    return refuse("is absolute; only paths relative to the model are read");
  }
  std::size_t start = 0;
  while (start <= location.size()) {
    const std::size_t end = std::min(location.find_first_of("/\\", start), location.size());
    if (location.compare(start, end - start, "..") == 0) return refuse("leaves the model's folder");
    start = end + 1;
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const base::MappedFile>> ExternalData::open(const std::string& location, const std::string& tensor) {
  if (const auto it = open_.find(location); it != open_.end()) return it->second;
  NARROW_RETURN_IF_ERROR(check_location(location, tensor));
  if (folder_.empty()) {
    return unsupported(fmt::format("tensor '{}' is stored in the file '{}', but this model was not read from a folder", tensor, location));
  }
  std::error_code code;
  const fs::path wanted = fs::path(folder_) / location;
  const fs::path path = fs::canonical(wanted, code);
  if (code == std::errc::no_such_file_or_directory || code == std::errc::not_a_directory) {
    return not_found(fmt::format("tensor '{}' is stored in '{}', which does not exist", tensor, wanted.string()))
        .hint("Put the data file that belongs to the model beside it.");
  }
  if (code) return io_error(fmt::format("tensor '{}': cannot resolve '{}': {}", tensor, wanted.string(), code.message()));

  bool allowed = false;
  std::vector<std::string> roots = allowed_roots_;
  roots.push_back(folder_);
  for (const std::string& root : roots) {
    const fs::path canonical = fs::canonical(root, code);
    allowed = allowed || (!code && inside(path, canonical));
  }
  if (!allowed) {
    return corrupt(fmt::format("tensor '{}': external data '{}' is a link to '{}', outside the model's folder", tensor, location, path.string()))
        .hint("If that folder is trusted (a download cache, say), allow it as a root for external data.");
  }
  NARROW_TRY(auto file, base::MappedFile::open(path.string()));
  open_.emplace(location, file);
  return file;
}

std::vector<std::string> ExternalData::paths() const {
  std::vector<std::string> paths;
  for (const auto& [location, file] : open_) paths.push_back((fs::path(folder_) / location).string());
  return paths;
}

Result<std::uint64_t> parse_decimal(std::string_view text, const std::string& what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return corrupt(fmt::format("{} is '{}', expected a decimal number", what, text));
  }
  return value;
}

}  // namespace narrow::formats::onnx
