#include "formats/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/mapped_file.h"
#include "formats/onnx/onnx.h"

namespace narrow::formats {
namespace {

constexpr std::string_view kOnnxExtensions[] = {".onnx"};

// The table: one row a format.
const std::array kFormats = {
    Format{.name = "onnx", .summary = "ONNX model, opset 7 to 28", .extensions = kOnnxExtensions,
           .probe = onnx::probe, .import_model = onnx::import_file, .export_model = onnx::export_file},
};

constexpr std::size_t kHeadBytes = 4096;

std::string known_extensions() {
  std::string text;
  for (const Format& format : kFormats) {
    for (std::string_view extension : format.extensions) text += fmt::format("{}{}", text.empty() ? "" : ", ", extension);
  }
  return text;
}

bool has_extension(const Format& format, std::string_view path) {
  return std::any_of(format.extensions.begin(), format.extensions.end(), [&](std::string_view e) { return path.ends_with(e); });
}

}  // namespace

std::span<const Format> formats() { return kFormats; }

Result<graph::Model> import_model(const std::string& path, const ImportOptions& options) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  const auto head = file->bytes().first(std::min(file->bytes().size(), kHeadBytes));
  for (const Format& format : kFormats) {
    if (format.import_model != nullptr && format.probe(head, path)) return format.import_model(path, options);
  }
  return unsupported(fmt::format("'{}' is in no format that can be read", path)).hint(fmt::format("Readable: {}.", known_extensions()));
}

Status export_model(const graph::Model& model, const std::string& path, const ExportOptions& options) {
  for (const Format& format : kFormats) {
    if (format.export_model != nullptr && has_extension(format, path)) return format.export_model(model, path, options);
  }
  return unsupported(fmt::format("cannot tell from '{}' which format to write", path)).hint(fmt::format("Writable: {}.", known_extensions()));
}

}  // namespace narrow::formats
