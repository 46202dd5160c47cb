// The file formats that quantized language models are written in.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "language/checkpoint.h"
#include "narrow/progress.h"

namespace narrow::language {

struct ExportRequest {
  const Checkpoint* model = nullptr;       // the model as it was opened: config.json, names, files beside it
  const WeightSource* weights = nullptr;   // what is written
  std::string path;                        // a folder that exists and is empty, or a file, as the format says
  std::string recipe;                      // TOML, kept in the output's metadata
  base::ThreadPool* pool = nullptr;
  Progress progress;
  // The importance of a module's inputs, for formats that choose codes themselves; see GgufRequest.
  std::function<std::vector<float>(const std::string& module)> importance = {};
};

struct ExportFormat {
  std::string_view name;                   // "gptq"
  std::string_view summary;
  std::string_view extension;              // of the file; empty: a folder
  bool chooses_codes = false;              // quantizes floats itself
  bool rounds_inputs = false;              // takes weights whose inputs are rounded
  bool mixes = false;                      // weights may differ in bits and groups
  bool (*pads)(int bits) = nullptr;        // codes of so many bits take the room of more; null: none do
  encodings::ScaleType (*scale_type)(const Checkpoint& model) = nullptr;  // what scales should be rounded to
  // Whether the format can hold such a weight. Errors: unsupported, with a hint.
  Status (*check)(const MatrixForm& form) = nullptr;
  Status (*write)(const ExportRequest& request) = nullptr;
};

std::span<const ExportFormat* const> export_formats();  // the table: exports.cc
// Errors: invalid_argument, naming the nearest.
Result<const ExportFormat*> find_export_format(std::string_view name);

// Whether the format can hold all of these, by module. Errors: unsupported, naming the module, with a hint.
Status check_forms(const ExportFormat& format, std::span<const std::pair<std::string, MatrixForm>> forms);

// One file a writer.
extern const ExportFormat kGptqExport, kGptqV2Export, kAwqExport, kCompressedTensorsExport, kBitsandbytesExport, kBitsandbytesInt8Export, kFloatExport, kOnnxExport, kOnnxQdqExport;
std::span<const ExportFormat> gguf_exports();  // one for each mixture of block types

}  // namespace narrow::language
