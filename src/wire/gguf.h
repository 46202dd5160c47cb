// The head of a GGUF file: typed key-value pairs and the table of tensors, before the tensors' bytes. Versions 2 and 3,
// little-endian (ggml: docs/gguf.md). The types of tensors are numbers here; formats/gguf knows what they mean.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "narrow/result.h"

namespace narrow::wire {

enum class GgufType : std::uint32_t { kU8, kS8, kU16, kS16, kU32, kS32, kF32, kBool, kString, kArray, kU64, kS64, kF64 };

std::string_view to_string(GgufType type);

// A list of one type: strings, or numbers as the file has them (little-endian, `bytes`).
struct GgufArray {
  GgufType type = GgufType::kU8;
  std::uint64_t count = 0;
  std::vector<std::uint8_t> bytes;
  std::vector<std::string> strings;
};

struct GgufValue {
  GgufType type = GgufType::kU8;
  // Signed and unsigned whole numbers, reals, bool, text, list.
  std::variant<std::int64_t, std::uint64_t, double, bool, std::string, GgufArray> value;

  static GgufValue u32(std::uint32_t v) { return {GgufType::kU32, std::uint64_t{v}}; }
  static GgufValue u64(std::uint64_t v) { return {GgufType::kU64, v}; }
  static GgufValue s32(std::int32_t v) { return {GgufType::kS32, std::int64_t{v}}; }
  static GgufValue f32(float v) { return {GgufType::kF32, static_cast<double>(v)}; }
  static GgufValue flag(bool v) { return {GgufType::kBool, v}; }
  static GgufValue text(std::string v) { return {GgufType::kString, std::move(v)}; }
  static GgufValue texts(std::vector<std::string> v);
  static GgufValue f32s(std::span<const float> v);
  static GgufValue s32s(std::span<const std::int32_t> v);
  static GgufValue u32s(std::span<const std::uint32_t> v);
};

class GgufMetadata {
 public:
  void set(std::string key, GgufValue value);  // replaces

  const std::vector<std::pair<std::string, GgufValue>>& pairs() const { return pairs_; }
  const GgufValue* find(std::string_view key) const;  // null when absent
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Errors: corrupt, naming file and key, when absent or of another kind.
  Result<std::int64_t> whole(std::string_view key) const;  // any whole type, 0 .. 2^63 - 1
  Result<double> real(std::string_view key) const;         // whole numbers included
  Result<bool> flag(std::string_view key) const;
  Result<std::string> text(std::string_view key) const;
  Result<std::vector<std::string>> texts(std::string_view key) const;
  Result<std::vector<std::int64_t>> wholes(std::string_view key) const;  // a list of any whole type
  Result<std::vector<float>> reals(std::string_view key) const;          // a list of f32 or f64

  // As above, `otherwise` when absent.
  Result<std::int64_t> whole_or(std::string_view key, std::int64_t otherwise) const { return has(key) ? whole(key) : otherwise; }
  Result<double> real_or(std::string_view key, double otherwise) const { return has(key) ? real(key) : otherwise; }
  Result<bool> flag_or(std::string_view key, bool otherwise) const { return has(key) ? flag(key) : otherwise; }
  Result<std::string> text_or(std::string_view key, std::string otherwise) const { return has(key) ? text(key) : otherwise; }

  std::string where;  // the file, for errors

 private:
  std::vector<std::pair<std::string, GgufValue>> pairs_;
  std::unordered_map<std::string, std::size_t> index_;
};

struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> dimensions;  // as the file has them: the fastest first
  std::uint32_t type = 0;
  std::uint64_t offset = 0;              // from GgufHead::data
};

struct GgufHead {
  int version = 3;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;
  std::uint64_t alignment = 32;
  std::uint64_t data = 0;  // where the tensors' bytes start, from the start of the file
};

constexpr std::uint64_t kGgufAlignment = 32;

// Reads the head at the start of `file`, which need hold no more than that. Counts and lengths are compared with the
// bytes that are there before anything is made for them; keys and names come once; dimensions multiply to less than 2^63.
// Offsets are not looked at. Errors: corrupt, unsupported (version 1, big-endian, lists of lists).
Result<GgufHead> parse_gguf_head(std::span<const std::uint8_t> file, const std::string& where);

// The head of version 3, padded to where the tensors' bytes start. Alignment: the metadata's general.alignment, or 32.
// Errors: invalid_argument (a key or name twice or too long, an alignment that is no power of two).
Result<std::string> gguf_head_bytes(const GgufMetadata& metadata, std::span<const GgufTensor> tensors);
Result<std::uint64_t> gguf_alignment(const GgufMetadata& metadata);

}  // namespace narrow::wire
