// The element types of ggml, as GGUF files hold them: most are blocks of few-bit codes with their scales beside them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace narrow::encodings {

// Ids are the file format's.
enum class GgmlType : std::uint32_t {
  kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8, kQ8_1 = 9,
  kQ2K = 10, kQ3K = 11, kQ4K = 12, kQ5K = 13, kQ6K = 14, kQ8K = 15,
  kIq2Xxs = 16, kIq2Xs = 17, kIq3Xxs = 18, kIq1S = 19, kIq4Nl = 20, kIq3S = 21, kIq2S = 22, kIq4Xs = 23,
  kI8 = 24, kI16 = 25, kI32 = 26, kI64 = 27, kF64 = 28, kIq1M = 29, kBF16 = 30, kTq1_0 = 34, kTq2_0 = 35, kMxfp4 = 39, kNvfp4 = 40,
};

struct GgmlBlocks {
  GgmlType type;
  std::string_view name;  // "Q4_K"
  int elements;           // of a block; a row holds whole blocks
  int bytes;

  // `count` values, a multiple of `elements`, from count / elements * bytes bytes. Null: integers,
  // which are no weights.
  void (*dequantize)(const std::uint8_t* blocks, std::int64_t count, float* out) = nullptr;

  // The inverse, by the least squared error, each value's weighted by `importance` (of `count` values, >= 0) unless that is
  // null. Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 without importance are as ggml's own reference writes them, bit for bit.
  // Values must be finite. Null: not written here.
  void (*quantize)(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) = nullptr;
};

std::span<const GgmlBlocks> ggml_types();                       // by id
const GgmlBlocks* find_ggml_type(std::uint32_t id);             // null: no such type (removed ones included)
const GgmlBlocks* find_ggml_type(std::string_view name);
inline const GgmlBlocks& ggml_blocks(GgmlType type) { return *find_ggml_type(static_cast<std::uint32_t>(type)); }

}  // namespace narrow::encodings
