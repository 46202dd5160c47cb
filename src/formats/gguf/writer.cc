#include <fmt/format.h>

#include "base/checked.h"
#include "base/text.h"
#include "formats/gguf/gguf.h"

namespace narrow::formats::gguf {

FileWriter::FileWriter(base::AtomicFile file, std::vector<TensorEntry> entries, std::uint64_t alignment)
    : file_(std::move(file)), entries_(std::move(entries)), alignment_(alignment), written_(std::make_unique<std::atomic<std::uint64_t>[]>(entries_.size())) {}

Result<FileWriter> FileWriter::create(const std::string& path, const wire::GgufMetadata& metadata, const std::vector<TensorPlan>& tensors) {
  NARROW_TRY(const std::uint64_t alignment, wire::gguf_alignment(metadata));
  std::vector<TensorEntry> entries;
  std::vector<wire::GgufTensor> table;
  std::uint64_t at = 0;
  for (const TensorPlan& plan : tensors) {
    TensorEntry entry{.name = plan.name, .type = &encodings::ggml_blocks(plan.type), .shape = plan.shape};
    const auto count = base::checked_product(plan.shape);
    if (!count || *count == 0 || entry.row_values() % entry.type->elements != 0) {
      return invalid_argument(fmt::format("tensor '{}' of shape {} cannot be stored as {}: its rows are to hold whole blocks of {}", base::escape_controls(plan.name), to_string(plan.shape),
                                          entry.type->name, entry.type->elements))
          .hint("Store it as F16 or F32, or as a type of smaller blocks.");
    }
    const auto bytes = base::checked_mul<std::uint64_t>(static_cast<std::uint64_t>(*count / entry.type->elements), static_cast<std::uint64_t>(entry.type->bytes));
    const auto end = bytes ? base::checked_add(at, *bytes) : std::nullopt;
    if (!end || *end > std::uint64_t{1} << 62) return invalid_argument(fmt::format("tensor '{}' of shape {} is too large", base::escape_controls(plan.name), to_string(plan.shape)));
    entry.offset = at;
    entry.bytes = *bytes;
    table.push_back({plan.name, {plan.shape.rbegin(), plan.shape.rend()}, static_cast<std::uint32_t>(plan.type), at});
    at = base::round_up<std::uint64_t>(*end, alignment);
    entries.push_back(std::move(entry));
  }
  NARROW_TRY(const std::string head, wire::gguf_head_bytes(metadata, table));
  for (TensorEntry& entry : entries) entry.offset += head.size();
  NARROW_TRY(base::AtomicFile file, base::AtomicFile::create(path));
  NARROW_RETURN_IF_ERROR(file.write(head));
  return FileWriter(std::move(file), std::move(entries), alignment);
}

Status FileWriter::write(std::size_t index, std::uint64_t offset, std::span<const std::uint8_t> bytes) {
  const TensorEntry& entry = entries_[index];
  if (offset > entry.bytes || bytes.size() > entry.bytes - offset) {
    return invalid_argument(fmt::format("tensor '{}' has {} bytes, {} more were to be written at {}", entry.name, entry.bytes, bytes.size(), offset));
  }
  NARROW_RETURN_IF_ERROR(file_.write_at(entry.offset + offset, bytes));
  written_[index] += bytes.size();
  return {};
}

Status FileWriter::finish() {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const TensorEntry& entry = entries_[i];
    if (written_[i] != entry.bytes) return invalid_argument(fmt::format("tensor '{}' has {} bytes, {} were written", entry.name, entry.bytes, written_[i]));
    const std::vector<std::uint8_t> padding(static_cast<std::size_t>(base::round_up<std::uint64_t>(entry.bytes, alignment_) - entry.bytes));
    NARROW_RETURN_IF_ERROR(file_.write_at(entry.offset + entry.bytes, padding));
  }
  return file_.commit();
}

}  // namespace narrow::formats::gguf
