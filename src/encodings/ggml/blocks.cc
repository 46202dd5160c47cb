#include "encodings/ggml/blocks.h"

#include "encodings/ggml/dequantize.h"
#include "encodings/ggml/quantize.h"

namespace narrow::encodings {
namespace {

using namespace ggml;

constexpr GgmlBlocks kTypes[] = {
    {GgmlType::kF32, "F32", 1, 4, dequantize_f32, quantize_f32},
    {GgmlType::kF16, "F16", 1, 2, dequantize_f16, quantize_f16},
    {GgmlType::kQ4_0, "Q4_0", 32, 18, dequantize_q4_0, quantize_q4_0},
    {GgmlType::kQ4_1, "Q4_1", 32, 20, dequantize_q4_1, quantize_q4_1},
    {GgmlType::kQ5_0, "Q5_0", 32, 22, dequantize_q5_0, quantize_q5_0},
    {GgmlType::kQ5_1, "Q5_1", 32, 24, dequantize_q5_1, quantize_q5_1},
    {GgmlType::kQ8_0, "Q8_0", 32, 34, dequantize_q8_0, quantize_q8_0},
    {GgmlType::kQ8_1, "Q8_1", 32, 36, dequantize_q8_1},
    {GgmlType::kQ2K, "Q2_K", 256, 84, dequantize_q2_k},
    {GgmlType::kQ3K, "Q3_K", 256, 110, dequantize_q3_k},
    {GgmlType::kQ4K, "Q4_K", 256, 144, dequantize_q4_k, quantize_q4_k},
    {GgmlType::kQ5K, "Q5_K", 256, 176, dequantize_q5_k, quantize_q5_k},
    {GgmlType::kQ6K, "Q6_K", 256, 210, dequantize_q6_k, quantize_q6_k},
    {GgmlType::kQ8K, "Q8_K", 256, 292, dequantize_q8_k},
    {GgmlType::kIq2Xxs, "IQ2_XXS", 256, 66, dequantize_iq2_xxs},
    {GgmlType::kIq2Xs, "IQ2_XS", 256, 74, dequantize_iq2_xs},
    {GgmlType::kIq3Xxs, "IQ3_XXS", 256, 98, dequantize_iq3_xxs},
    {GgmlType::kIq1S, "IQ1_S", 256, 50, dequantize_iq1_s},
    {GgmlType::kIq4Nl, "IQ4_NL", 32, 18, dequantize_iq4_nl},
    {GgmlType::kIq3S, "IQ3_S", 256, 110, dequantize_iq3_s},
    {GgmlType::kIq2S, "IQ2_S", 256, 82, dequantize_iq2_s},
    {GgmlType::kIq4Xs, "IQ4_XS", 256, 136, dequantize_iq4_xs},
    {GgmlType::kI8, "I8", 1, 1},
    {GgmlType::kI16, "I16", 1, 2},
    {GgmlType::kI32, "I32", 1, 4},
    {GgmlType::kI64, "I64", 1, 8},
    {GgmlType::kF64, "F64", 1, 8, dequantize_f64},
    {GgmlType::kIq1M, "IQ1_M", 256, 56, dequantize_iq1_m},
    {GgmlType::kBF16, "BF16", 1, 2, dequantize_bf16, quantize_bf16},
    {GgmlType::kTq1_0, "TQ1_0", 256, 54, dequantize_tq1_0},
    {GgmlType::kTq2_0, "TQ2_0", 256, 66, dequantize_tq2_0},
    {GgmlType::kMxfp4, "MXFP4", 32, 17, dequantize_mxfp4},
    {GgmlType::kNvfp4, "NVFP4", 64, 36, dequantize_nvfp4},
};

}  // namespace

std::span<const GgmlBlocks> ggml_types() { return kTypes; }

const GgmlBlocks* find_ggml_type(std::uint32_t id) {
  for (const GgmlBlocks& row : kTypes) {
    if (static_cast<std::uint32_t>(row.type) == id) return &row;
  }
  return nullptr;
}

const GgmlBlocks* find_ggml_type(std::string_view name) {
  for (const GgmlBlocks& row : kTypes) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace narrow::encodings
