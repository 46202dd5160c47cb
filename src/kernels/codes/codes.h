// The inner loops of what works on 8-bit codes without a product: tables, pooling, channels. All instruction sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace narrow::kernels {

struct SumOperand {
  const std::uint8_t* codes = nullptr;
  bool is_signed = false;
  float scale = 1;
  std::int32_t zero_point = 0;
};
// low and high bound the real numbers.
struct SumResult {
  bool is_signed = false;
  float scale = 1;
  std::int32_t zero_point = 0;
  float low = 0, high = 0;
};

struct CodeKernels {
  // out[i] = table[in[i]]; in and out may be the same.
  void (*look_up)(const std::uint8_t* in, std::size_t n, const std::uint8_t* table, std::uint8_t* out);
  // out[i] = the largest of rows[r][i], count >= 1; with is_signed the codes are s8.
  void (*maximum)(const std::uint8_t* const* rows, std::size_t count, std::size_t n, bool is_signed, std::uint8_t* out);
  // out[3 * i + p] = planes[p][i]: three channels of an image brought together.
  void (*interleave3)(const std::uint8_t* const* planes, std::size_t n, std::uint8_t* out);
  // Codes of the sum: what dequantize, add, clamp, quantize in f32 give. Null where that way is no slower.
  void (*sum)(const SumOperand& a, const SumOperand& b, std::size_t n, const SumResult& y, std::uint8_t* out);
  // sums[i] += in[i]
  void (*add)(const std::uint8_t* in, std::size_t n, bool is_signed, std::int32_t* sums);
};

const CodeKernels& code_kernels(base::Isa isa);
const CodeKernels& code_kernels();  // for effective_isa()

extern const CodeKernels kCodesReference, kCodesAvx2, kCodesAvx512;

// For processors with VBMI, which not every one with AVX-512 has.
void look_up_avx512vbmi(const std::uint8_t* in, std::size_t n, const std::uint8_t* table, std::uint8_t* out);

}  // namespace narrow::kernels
