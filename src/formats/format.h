// A model file format: how to recognise, read and write it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"

namespace narrow::formats {

struct ImportOptions {
  // Folders that external data may lie in, besides the model's own. Symbolic links are resolved first.
  std::vector<std::string> allowed_roots;
};

struct ExportOptions {
  std::uint64_t external_data_above = 0;  // bytes; 0: only when the file would pass 2 GiB
  std::vector<std::string> allowed_roots;
  int opset = 0;  // ONNX: the oldest opset to write; 0: the imported model's, or as low as its types and operators allow
};

struct Format {
  std::string_view name;                            // "onnx"
  std::string_view summary;
  std::span<const std::string_view> extensions;     // ".onnx"
  // Looks at the file's first bytes and at its name.
  bool (*probe)(std::span<const std::uint8_t> head, std::string_view path) = nullptr;
  Result<graph::Model> (*import_model)(const std::string& path, const ImportOptions& options) = nullptr;
  Status (*export_model)(const graph::Model& model, const std::string& path, const ExportOptions& options) = nullptr;
};

std::span<const Format> formats();  // the table

// Errors: not_found, io, corrupt, unsupported; all name the file.
Result<graph::Model> import_model(const std::string& path, const ImportOptions& options = {});
// By the path's extension. Errors: unsupported (extension), io, resource_exhausted. Nothing is left behind on failure.
Status export_model(const graph::Model& model, const std::string& path, const ExportOptions& options = {});

}  // namespace narrow::formats
