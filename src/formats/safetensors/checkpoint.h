// The tensors of a safetensors checkpoint: one file, or a folder of shards with an index, mapped and never copied whole.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "formats/safetensors/header.h"

namespace narrow::formats::safetensors {

// Where a checkpoint's tensors lie within a folder. The Hugging Face names.
inline constexpr std::string_view kFileName = "model.safetensors";
inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

class Checkpoint {
 public:
  // A .safetensors file, an index (.json), or a folder that holds kFileName or kIndexName. A shard's name must be that of a
  // file in the index's folder; links may lead anywhere within that folder or into the hub cache's own "blobs".
  // Errors: not_found, io, corrupt, unsupported; all name the file.
  static Result<Checkpoint> open(const std::string& path);

  // In the order of the files and of the bytes in them.
  const std::vector<Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  // of the first file
  std::vector<std::string> paths() const;                                           // of the files

  const Entry* find(std::string_view name) const;  // null when absent

  // A view that keeps the file mapped; a copy where the file puts the bytes at an address that the type does not allow.
  // Errors: not_found (with the nearest names), corrupt (a bool that is neither 0 nor 1).
  Result<Tensor> tensor(std::string_view name) const;

  // Drops the pages of a tensor that is done with. Views of it stay valid.
  void release(std::string_view name) const;

 private:
  Status add_file(const std::string& path, const std::unordered_map<std::string, std::string>* shard_of, const std::string& shard);

  std::vector<std::shared_ptr<const base::MappedFile>> files_;
  std::vector<Entry> entries_;
  std::vector<std::size_t> file_of_;  // of each entry
  std::unordered_map<std::string, std::size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace narrow::formats::safetensors
