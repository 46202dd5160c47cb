// f32 to 8-bit codes and back with one scale and zero point: QuantizeLinear and DequantizeLinear's inner loops.
//
// q = saturate(round_half_even(x / scale) + zero_point), NaN gives zero_point; x' = f32(q - zero_point) * scale.
// Every implementation gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace narrow::kernels {

struct AffineKernels {
  void (*quantize_u8)(const float* x, std::size_t n, float scale, std::int32_t zero_point, std::uint8_t* q);
  void (*quantize_s8)(const float* x, std::size_t n, float scale, std::int32_t zero_point, std::int8_t* q);
  void (*dequantize_u8)(const std::uint8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* x);
  void (*dequantize_s8)(const std::int8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* x);
  // Smallest and largest element (0 for n = 0; NaN is skipped).
  void (*min_max)(const float* x, std::size_t n, float* min, float* max);
  // Sums of (x - x')² and of x². These may differ between implementations by rounding.
  void (*error_u8)(const float* x, const std::uint8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* error, float* size);
};

const AffineKernels& affine_kernels(base::Isa isa);
const AffineKernels& affine_kernels();  // for effective_isa()

extern const AffineKernels kAffineReference, kAffineAvx2, kAffineAvx512;

}  // namespace narrow::kernels
