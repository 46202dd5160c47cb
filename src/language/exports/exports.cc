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

Status check_forms(const ExportFormat& format, std::span<const std::pair<std::string, MatrixForm>> forms) {
  const std::pair<std::string, MatrixForm>* first = nullptr;
  for (const auto& entry : forms) {
    const auto& [module, form] = entry;
    Status fits = format.check(form);
    if (!fits.ok()) return std::move(fits).context(fmt::format("'{}'", module)).error();
    if (!form.quantized()) continue;
    if (form.inputs.rounds() && !format.rounds_inputs) {
      return unsupported(fmt::format("'{}': the format {} cannot say that inputs are rounded to 8 bits", module, format.name)).hint("Use --format compressed-tensors.");
    }
    if (first == nullptr) first = &entry;
    const MatrixForm& other = first->second;
    const bool same = form.kind == other.kind && form.bits == other.bits && form.symmetric == other.symmetric && form.type == other.type &&
                      (form.group_size == other.group_size || (form.group_size == form.columns && other.group_size == other.columns));
    if (!same && !format.mixes) {
      return unsupported(fmt::format("'{}' has {} bits in groups of {}, but '{}' {} in groups of {}: the format {} cannot mix them", module, form.bits, form.group_size, first->first, other.bits,
                                     other.group_size, format.name))
          .hint("Use --format compressed-tensors, gptq or onnx.");
    }
  }
  return {};
}

}  // namespace narrow::language
