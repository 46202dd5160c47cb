#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/text.h"
#include "formats/gguf/gguf.h"

namespace narrow::formats::gguf {

using encodings::GgmlBlocks;
using encodings::GgmlType;

namespace {

// The tensor type of the same bytes; undefined for blocks.
DType dtype_of(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return DType::kF32;
    case GgmlType::kF16: return DType::kF16;
    case GgmlType::kBF16: return DType::kBF16;
    case GgmlType::kF64: return DType::kF64;
    case GgmlType::kI8: return DType::kS8;
    case GgmlType::kI16: return DType::kS16;
    case GgmlType::kI32: return DType::kS32;
    case GgmlType::kI64: return DType::kS64;
    default: return DType::kUndefined;
  }
}

}  // namespace

std::int64_t TensorEntry::rows() const {
  std::int64_t rows = 1;
  for (std::size_t d = 0; d + 1 < shape.size(); ++d) rows *= shape[d];
  return rows;
}

Result<File> File::open(const std::string& path) {
  NARROW_TRY(auto mapped, base::MappedFile::open(path));
  return read(std::move(mapped));
}

Result<File> File::read(std::shared_ptr<const base::MappedFile> mapped) {
  NARROW_TRY(File file, read(mapped, mapped->bytes(), mapped->path()));
  file.mapped_ = std::move(mapped);
  return file;
}

Result<File> File::read(std::shared_ptr<const void> owner, base::ByteSpan bytes, const std::string& where) {
  NARROW_TRY(wire::GgufHead head, wire::parse_gguf_head(bytes, where));
  File file;
  std::uint64_t at = 0;  // within the data
  const std::uint64_t data_bytes = head.data <= bytes.size() ? bytes.size() - head.data : 0;
  for (wire::GgufTensor& tensor : head.tensors) {
    const std::string name = base::escape_controls(tensor.name);
    const GgmlBlocks* type = encodings::find_ggml_type(tensor.type);
    if (type == nullptr) return unsupported(fmt::format("{}: tensor '{}' has the type {}, which is not known", where, name, tensor.type));
    TensorEntry entry{.name = std::move(tensor.name), .type = type, .shape = {tensor.dimensions.rbegin(), tensor.dimensions.rend()}};
    if (entry.row_values() % type->elements != 0) {
      return corrupt(fmt::format("{}: rows of tensor '{}' have {} values, {} has blocks of {}", where, name, entry.row_values(), type->name, type->elements));
    }
    const auto size = base::checked_mul<std::uint64_t>(static_cast<std::uint64_t>(*base::checked_product(entry.shape) / type->elements), static_cast<std::uint64_t>(type->bytes));
    if (tensor.offset != at) return corrupt(fmt::format("{}: tensor '{}' starts at {} of the data, expected {}", where, name, tensor.offset, at));
    if (!size || at > data_bytes || *size > data_bytes - at) {
      return corrupt(fmt::format("{}: tensor '{}' of {} {} ends beyond the file", where, name, to_string(entry.shape), type->name)).hint("The file was cut off: download it again.");
    }
    entry.offset = head.data + at;
    entry.bytes = *size;
    at = base::round_up<std::uint64_t>(at + *size, head.alignment);
    file.by_name_.emplace(entry.name, file.entries_.size());
    file.entries_.push_back(std::move(entry));
  }
  file.owner_ = std::move(owner);
  file.bytes_ = bytes;
  file.where_ = where;
  file.metadata_ = std::move(head.metadata);
  return file;
}

const TensorEntry* File::find(std::string_view name) const {
  const auto at = by_name_.find(std::string(name));
  return at == by_name_.end() ? nullptr : &entries_[at->second];
}

Status File::decode_rows(const TensorEntry& entry, std::int64_t first, std::int64_t count, float* out) const {
  if (entry.type->dequantize == nullptr) {
    return unsupported(fmt::format("{}: tensor '{}' is stored as {}, expected a type of weights", where_, base::escape_controls(entry.name), entry.type->name)).hint("Start from the unquantized model.");
  }
  entry.type->dequantize(bytes_.data() + entry.offset + static_cast<std::uint64_t>(first) * entry.row_bytes(), count * entry.row_values(), out);
  return {};
}

Result<Tensor> File::tensor(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) {
    std::vector<std::string_view> names;
    for (const TensorEntry& e : entries_) names.push_back(e.name);
    return not_found(fmt::format("{}: no tensor '{}'{}", where_, base::escape_controls(name), base::did_you_mean(name, names)));
  }
  const DType dtype = dtype_of(entry->type->type);
  const std::uint8_t* data = bytes_.data() + entry->offset;
  if (dtype == DType::kUndefined) {
    NARROW_TRY(Tensor out, Tensor::create(DType::kF32, entry->shape));
    entry->type->dequantize(data, out.size(), out.mutable_data<float>().data());
    return out;
  }
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(entry->type->bytes) == 0) return Tensor::from_shared(dtype, entry->shape, owner_, data);
  NARROW_TRY(Tensor copy, Tensor::create(dtype, entry->shape));
  std::memcpy(copy.mutable_raw(), data, entry->bytes);
  return copy;
}

void File::release(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry != nullptr && mapped_ != nullptr) mapped_->release(bytes(*entry));
}

}  // namespace narrow::formats::gguf
