#include "formats/safetensors/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "wire/json.h"

namespace narrow::formats::safetensors {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIndexBytes = 100'000'000;

bool inside(const fs::path& path, const fs::path& root) {
  const auto [r, p] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return r == root.end() && p != path.end();
}

// The file of a shard, once links are resolved. The hub's cache keeps "models--x/snapshots/<commit>/<file>" as links to
// "models--x/blobs/<hash>", so that folder is allowed besides the index's own.
Result<std::string> shard_path(const fs::path& folder, const std::string& shard, const std::string& index) {
  if (shard.empty() || shard == "." || shard == ".." || shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
    return corrupt(fmt::format("{}: '{}' is no name of a shard", index, base::escape_controls(shard)))
        .hint("Shards lie beside their index and are named without folders.");
  }
  std::error_code code;
  const fs::path path = fs::canonical(folder / shard, code);
  if (code) {
    return not_found(fmt::format("{} names the shard '{}', which is not there", index, base::escape_controls(shard)))
        .hint("Download the missing shard.");
  }
  const fs::path own = fs::canonical(folder, code);
  if (!inside(path, own) && !(own.parent_path().filename() == "snapshots" && inside(path, own.parent_path().parent_path() / "blobs"))) {
    return corrupt(fmt::format("{}: the shard '{}' is a link that leaves the folder, to '{}'", index, base::escape_controls(shard), path.string()))
        .hint("Copy the file itself beside the index.");
  }
  return path.string();
}

Result<std::unordered_map<std::string, std::string>> read_index(const std::string& path) {
  NARROW_TRY(const auto file, base::MappedFile::open(path));
  if (file->bytes().size() > kMaxIndexBytes) return corrupt(fmt::format("{}: {} bytes, too many for an index", path, file->bytes().size()));
  NARROW_TRY(const nlohmann::json json, wire::parse_json({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path));
  NARROW_TRY(const wire::Fields map, wire::Fields(json, path).object("weight_map"));
  std::unordered_map<std::string, std::string> shard_of;
  for (const auto& [name, shard] : map.value().items()) {
    NARROW_TRY(std::string text, wire::Fields(shard, fmt::format("{}: weight_map.{}", path, base::escape_controls(name))).as_text());
    shard_of.emplace(name, std::move(text));
  }
  if (shard_of.empty()) return corrupt(fmt::format("{}: the weight_map is empty", path));
  return shard_of;
}

// The file to start from.
Result<std::string> entry_point(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  for (const std::string_view name : {kFileName, kIndexName}) {
    if (const fs::path file = fs::path(path) / name; fs::exists(file, ignored)) return file.string();
  }
  const bool pickled = fs::exists(fs::path(path) / "pytorch_model.bin", ignored) || fs::exists(fs::path(path) / "pytorch_model.bin.index.json", ignored);
  return not_found(fmt::format("'{}' holds neither {} nor {}", path, kFileName, kIndexName))
      .hint(pickled ? "Its weights are a pytorch_model.bin, a pickle that may run code: load it with transformers and save_pretrained() it as safetensors."
                    : "Name the .safetensors file itself if it is called something else.");
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  NARROW_TRY(const std::string file, entry_point(path));
  Checkpoint checkpoint;
  if (!file.ends_with(".json")) {
    NARROW_RETURN_IF_ERROR(checkpoint.add_file(file, nullptr, ""));
    return checkpoint;
  }
  NARROW_TRY(const auto shard_of, read_index(file));
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  const fs::path folder = fs::path(file).has_parent_path() ? fs::path(file).parent_path() : fs::path(".");
  for (const std::string& shard : shards) {
    NARROW_TRY(const std::string shard_file, shard_path(folder, shard, file));
    NARROW_RETURN_IF_ERROR(checkpoint.add_file(shard_file, &shard_of, shard).context(fmt::format("while reading the shard '{}'", shard)));
  }
  for (const auto& [name, shard] : shard_of) {
    if (!checkpoint.by_name_.contains(name)) return corrupt(fmt::format("{}: the shard '{}' lacks the tensor '{}'", file, shard, base::escape_controls(name)));
  }
  return checkpoint;
}

Status Checkpoint::add_file(const std::string& path, const std::unordered_map<std::string, std::string>* shard_of, const std::string& shard) {
  NARROW_TRY(auto file, base::MappedFile::open(path));
  NARROW_TRY(Header header, parse_header(file->bytes(), path));
  for (Entry& entry : header.entries) {
    if (shard_of != nullptr) {
      // The index decides: a tensor that it places elsewhere or does not know is none of the checkpoint's.
      const auto at = shard_of->find(entry.tensor.name);
      if (at == shard_of->end() || at->second != shard) continue;
    }
    by_name_.emplace(entry.tensor.name, entries_.size());
    entries_.push_back(std::move(entry));
    file_of_.push_back(files_.size());
  }
  if (files_.empty()) metadata_ = std::move(header.metadata);
  files_.push_back(std::move(file));
  return {};
}

std::vector<std::string> Checkpoint::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

const Entry* Checkpoint::find(std::string_view name) const {
  const auto at = by_name_.find(std::string(name));
  return at == by_name_.end() ? nullptr : &entries_[at->second];
}

Result<Tensor> Checkpoint::tensor(std::string_view name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) {
    std::vector<std::string_view> names;
    for (const Entry& e : entries_) names.push_back(e.tensor.name);
    return not_found(fmt::format("{}: no tensor '{}'{}", files_.front()->path(), base::escape_controls(name), base::did_you_mean(name, names)));
  }
  const auto& file = files_[file_of_[static_cast<std::size_t>(entry - entries_.data())]];
  const std::uint8_t* data = file->bytes().data() + entry->offset;
  if (entry->tensor.dtype == DType::kBool && std::any_of(data, data + entry->bytes, [](std::uint8_t b) { return b > 1; })) {
    return corrupt(fmt::format("{}: tensor '{}' of type BOOL holds bytes that are neither 0 nor 1", file->path(), base::escape_controls(name)));
  }
  const std::size_t alignment = std::max(bits_of(entry->tensor.dtype) / 8, 1);
  if (reinterpret_cast<std::uintptr_t>(data) % alignment == 0) return Tensor::from_shared(entry->tensor.dtype, entry->tensor.shape, file, data);
  NARROW_TRY(Tensor copy, Tensor::create(entry->tensor.dtype, entry->tensor.shape));
  if (entry->bytes != 0) std::memcpy(copy.mutable_raw(), data, entry->bytes);
  return copy;
}

void Checkpoint::release(std::string_view name) const {
  const Entry* entry = find(name);
  if (entry == nullptr) return;
  const auto& file = files_[file_of_[static_cast<std::size_t>(entry - entries_.data())]];
  file->release(file->bytes().subspan(entry->offset, entry->bytes));
}

}  // namespace narrow::formats::safetensors
