#include "formats/safetensors/writer.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "formats/safetensors/checkpoint.h"

namespace narrow::formats::safetensors {

FileWriter::FileWriter(base::AtomicFile file, Layout layout)
    : file_(std::move(file)), entries_(std::move(layout.entries)), file_bytes_(layout.file_bytes), written_(std::make_unique<std::atomic<std::uint64_t>[]>(entries_.size())) {}

Result<FileWriter> FileWriter::create(const std::string& path, std::vector<TensorSpec> tensors, const std::map<std::string, std::string>& metadata) {
  NARROW_TRY(Layout layout, make_layout(tensors, metadata));
  NARROW_TRY(base::AtomicFile file, base::AtomicFile::create(path));
  NARROW_RETURN_IF_ERROR(file.write(layout.header));
  return FileWriter(std::move(file), std::move(layout));
}

Status FileWriter::write(std::size_t index, std::uint64_t offset, std::span<const std::uint8_t> bytes) {
  const Entry& entry = entries_[index];
  if (offset > entry.bytes || bytes.size() > entry.bytes - offset) {
    return invalid_argument(fmt::format("tensor '{}' has {} bytes, {} more were to be written at {}", entry.tensor.name, entry.bytes, bytes.size(), offset));
  }
  NARROW_RETURN_IF_ERROR(file_.write_at(entry.offset + offset, bytes));
  written_[index] += bytes.size();
  return {};
}

Status FileWriter::write(std::size_t index, const Tensor& tensor) {
  const TensorSpec& expected = entries_[index].tensor;
  if (tensor.dtype() != expected.dtype || tensor.shape() != expected.shape) {
    return invalid_argument(fmt::format("tensor '{}' was announced as {}{}, found {}{}", expected.name, to_string(expected.dtype), to_string(expected.shape),
                                        to_string(tensor.dtype()), to_string(tensor.shape())));
  }
  return write(index, 0, tensor.byte_span());
}

Status FileWriter::finish() {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (written_[i] != entries_[i].bytes) {
      return invalid_argument(fmt::format("tensor '{}' has {} bytes, {} were written", entries_[i].tensor.name, entries_[i].bytes, written_[i]));
    }
  }
  return file_.commit();
}

std::vector<std::vector<TensorSpec>> plan_shards(std::vector<TensorSpec> tensors, std::uint64_t max_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  std::uint64_t size = 0;
  for (TensorSpec& tensor : tensors) {
    const std::uint64_t bytes = tensor.bytes();
    if (!shards.back().empty() && (size > max_bytes || bytes > max_bytes - size)) {
      shards.emplace_back();
      size = 0;
    }
    size += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  return count == 1 ? std::string(kFileName) : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

Status write_index(const std::string& folder, const std::vector<Shard>& shards) {
  std::uint64_t total = 0;
  nlohmann::json map = nlohmann::json::object();
  for (const Shard& shard : shards) {
    for (const TensorSpec& tensor : shard.tensors) {
      if (map.contains(tensor.name)) return invalid_argument(fmt::format("tensor '{}' is in two shards", base::escape_controls(tensor.name)));
      total += tensor.bytes();
      map[tensor.name] = shard.file;
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}};
  try {
    return base::write_file((std::filesystem::path(folder) / kIndexName).string(), index.dump(2) + "\n");
  } catch (const nlohmann::json::exception& e) {
    return invalid_argument(fmt::format("a tensor's name cannot be written as JSON: {}", base::escape_controls(e.what())));
  }
}

}  // namespace narrow::formats::safetensors
