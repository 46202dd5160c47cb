// ONNX model files (.onnx), opset 7 to 28 of ai.onnx.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "formats/format.h"

namespace narrow::formats::onnx {

bool probe(std::span<const std::uint8_t> head, std::string_view path);

Result<graph::Model> import_file(const std::string& path, const ImportOptions& options);

// From memory. `label` stands for the file in messages. The model's tensors are views into `bytes`, kept alive by
// `owner` (null: by the caller). `folder` is where external data lies; "" refuses it.
Result<graph::Model> import_bytes(std::span<const std::uint8_t> bytes, const std::string& label,
                                  std::shared_ptr<const void> owner = nullptr, const std::string& folder = "",
                                  const ImportOptions& options = {});

// One file, or two when the weights go to `<path>.data`. Both appear complete or not at all; writing over the files that
// the model was read from is safe, since they are replaced and not changed.
Status export_file(const graph::Model& model, const std::string& path, const ExportOptions& options);

// The file's bytes, weights included. Errors: unsupported (2 GiB and more).
Result<std::string> export_bytes(const graph::Model& model);

}  // namespace narrow::formats::onnx
