// Writes safetensors: what the file will hold is said first, then bytes come in any order and in parts, so that no more
// than one part need be in memory. A file appears whole, with its final name, or not at all.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "formats/safetensors/header.h"

namespace narrow::formats::safetensors {

class FileWriter {
 public:
  // Errors: invalid_argument (make_layout), io.
  static Result<FileWriter> create(const std::string& path, std::vector<TensorSpec> tensors,
                                   const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  const std::vector<Entry>& entries() const { return entries_; }  // in the order of the tensors given
  std::uint64_t bytes() const { return file_bytes_; }             // of the finished file

  // A part of tensor `index` of those given, from its byte `offset`. Each byte is written once, by any
  // thread. Errors: invalid_argument (beyond the tensor's end), io, resource_exhausted.
  Status write(std::size_t index, std::uint64_t offset, std::span<const std::uint8_t> bytes);
  // A whole tensor; type and shape must be the ones announced.
  Status write(std::size_t index, const Tensor& tensor);

  // Errors: invalid_argument when a tensor's bytes did not all come.
  Status finish();

 private:
  FileWriter(base::AtomicFile file, Layout layout);

  base::AtomicFile file_;
  std::vector<Entry> entries_;
  std::uint64_t file_bytes_ = 0;
  std::unique_ptr<std::atomic<std::uint64_t>[]> written_;  // bytes so far, of each tensor
};

// The tensors of each shard, in order: a shard takes what fits into `max_bytes`, and at least one tensor.
std::vector<std::vector<TensorSpec>> plan_shards(std::vector<TensorSpec> tensors, std::uint64_t max_bytes);

// "model.safetensors" for a single shard, else "model-00002-of-00005.safetensors" for index 1 of 5.
std::string shard_name(std::size_t index, std::size_t count);

// The index of shards that are already written: which file holds which tensors. Atomic.
struct Shard {
  std::string file;  // name without folder
  std::vector<TensorSpec> tensors;
};
Status write_index(const std::string& folder, const std::vector<Shard>& shards);

}  // namespace narrow::formats::safetensors
