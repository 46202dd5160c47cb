#include "language/exports/exports.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"

namespace narrow::language {
namespace {

// The table.
const ExportFormat* const kFormats[] = {&kCompressedTensorsExport, &kGptqExport, &kGptqV2Export, &kAwqExport, &kBitsandbytesExport, &kBitsandbytesInt8Export, &kFloatExport, &kOnnxExport, &kOnnxQdqExport};

}  // namespace

std::span<const ExportFormat* const> export_formats() {
  static const std::vector<const ExportFormat*> kAll = [] {
    std::vector<const ExportFormat*> all(std::begin(kFormats), std::end(kFormats));
    for (const ExportFormat& format : gguf_exports()) all.push_back(&format);
    return all;
  }();
  return kAll;
}

Result<const ExportFormat*> find_export_format(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ExportFormat* format : export_formats()) {
    if (format->name == name) return format;
    names.push_back(format->name);
  }
  return invalid_argument(fmt::format("there is no output format '{}' for language models{}", name, base::did_you_mean(name, names))).hint(fmt::format("Formats: {}.", fmt::join(names, ", ")));
}

}  // namespace narrow::language
