// GGUF files: mapped tensors, decoded on request, and a writer that takes bytes in any order.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "encodings/ggml/blocks.h"
#include "tensor/tensor.h"
#include "wire/gguf.h"

namespace narrow::formats::gguf {

struct TensorEntry {
  std::string name;
  const encodings::GgmlBlocks* type = nullptr;
  Shape shape;               // outermost first, as everywhere here; rows of the last dimension hold whole blocks
  std::uint64_t offset = 0;  // from the start of the file
  std::uint64_t bytes = 0;

  std::int64_t row_values() const { return shape.empty() ? 1 : shape.back(); }
  std::int64_t rows() const;
  std::uint64_t row_bytes() const { return static_cast<std::uint64_t>(row_values() / type->elements * type->bytes); }
};

class File {
 public:
  // Tensors must follow each other in the table's order, padded to the alignment, within the file.
  // Errors: not_found, io, corrupt, unsupported (a type that there is not).
  static Result<File> open(const std::string& path);
  static Result<File> read(std::shared_ptr<const base::MappedFile> file);
  static Result<File> read(std::shared_ptr<const void> owner, base::ByteSpan bytes, const std::string& where);

  const wire::GgufMetadata& metadata() const { return metadata_; }
  const std::vector<TensorEntry>& entries() const { return entries_; }
  const TensorEntry* find(std::string_view name) const;  // null when absent

  base::ByteSpan bytes(const TensorEntry& entry) const { return bytes_.subspan(entry.offset, entry.bytes); }

  // Types that tensors have are views of the file, blocks are decoded to f32. Errors: not_found,
  // resource_exhausted.
  Result<Tensor> tensor(std::string_view name) const;
  // Rows [first, first + count) as f32. Errors: unsupported (integers). Precondition: they are rows of the entry.
  Status decode_rows(const TensorEntry& entry, std::int64_t first, std::int64_t count, float* out) const;

  // Drops the pages of a tensor that is done with; nothing when the file is not mapped.
  void release(std::string_view name) const;

 private:

  std::shared_ptr<const void> owner_;
  std::shared_ptr<const base::MappedFile> mapped_;
  base::ByteSpan bytes_;
  std::string where_;
  wire::GgufMetadata metadata_;
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, std::size_t> by_name_;
};

// A tensor to be written.
struct TensorPlan {
  std::string name;
  encodings::GgmlType type = encodings::GgmlType::kF32;
  Shape shape;
};

class FileWriter {
 public:
  // Errors: invalid_argument (a last dimension that does not hold whole blocks, an empty dimension, wire::gguf_head_bytes), io.
  static Result<FileWriter> create(const std::string& path, const wire::GgufMetadata& metadata, const std::vector<TensorPlan>& tensors);

  const std::vector<TensorEntry>& entries() const { return entries_; }

  // As safetensors::FileWriter's.
  Status write(std::size_t index, std::uint64_t offset, std::span<const std::uint8_t> bytes);
  Status finish();

 private:
  FileWriter(base::AtomicFile file, std::vector<TensorEntry> entries, std::uint64_t alignment);

  base::AtomicFile file_;
  std::vector<TensorEntry> entries_;
  std::uint64_t alignment_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> written_;  // bytes so far, of each tensor
};

}  // namespace narrow::formats::gguf
