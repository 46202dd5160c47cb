// GGUF, one format a mixture of block types. Codes are chosen as the file is written, from float weights; weights that are
// codes already are taken only where they stay what they are, or lose next to nothing.
#include <fmt/format.h>

#include <array>

#include "language/exports/exports.h"
#include "language/gguf/export.h"
#include "language/gguf/mixture.h"

namespace narrow::language {
namespace {

// Mixtures by the formats' names, which are rows here so that each has functions of its own.
constexpr const char* kTypes[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"};
constexpr const char* kNames[] = {"gguf-f32", "gguf-f16", "gguf-bf16", "gguf-q8_0", "gguf-q4_0", "gguf-q4_1", "gguf-q5_0", "gguf-q5_1", "gguf-q4_k_s", "gguf-q4_k_m", "gguf-q5_k_s", "gguf-q5_k_m", "gguf-q6_k"};
constexpr std::size_t kCount = std::size(kTypes);
constexpr std::size_t kNearlyLossless = 4;  // the first ones

encodings::ScaleType f16_scales(const Checkpoint&) { return encodings::ScaleType::kF16; }

template <std::size_t kIndex>
Status check(const MatrixForm& form) {
  if (!form.quantized() || kIndex < kNearlyLossless) return {};
  const bool same_codes = form.kind == MatrixForm::Kind::kGrouped && std::string_view(kTypes[kIndex]) == "q4_0" && form.bits == 4 && form.group_size == 32 && form.symmetric && !form.ordered;
  if (same_codes) return {};
  return unsupported(fmt::format("{} would encode weights a second time that are codes already", kNames[kIndex]))
      .hint("Write it from the float checkpoint, or quantize symmetrically to 4 bits in groups of 32 for gguf-q4_0, or write gguf-f16.");
}

template <std::size_t kIndex>
Status write(const ExportRequest& request) {
  return write_gguf({.model = request.model, .weights = request.weights, .path = request.path, .type = kTypes[kIndex], .recipe = request.recipe, .importance = request.importance,
                     .pool = request.pool, .progress = request.progress});
}

template <std::size_t... kIndex>
std::array<ExportFormat, kCount> make_formats(std::index_sequence<kIndex...>) {
  return {ExportFormat{.name = kNames[kIndex], .summary = "GGUF: llama.cpp and what builds on it", .extension = ".gguf", .chooses_codes = true, .scale_type = f16_scales, .check = check<kIndex>, .write = write<kIndex>}...};
}

}  // namespace

std::span<const ExportFormat> gguf_exports() {
  static const std::array<ExportFormat, kCount> kFormats = make_formats(std::make_index_sequence<kCount>());
  return kFormats;
}

}  // namespace narrow::language
