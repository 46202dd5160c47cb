// f32 functions applied element by element over contiguous memory. `y` may be an input of the same call.
//
// exp, sigmoid, tanh, silu, erf and gelu (the exact one, by erf) are polynomials: relative error below 3e-7 for results in the normal range; NaN stays NaN,
// infinities give the limits. hard_sigmoid and hard_swish may fuse their product and sum. The others are exact. Results
// may differ in the last bits between instruction sets, never between runs, alignments, lengths or thread counts on one.
#pragma once

#include <cstddef>
#include <span>

#include "base/cpu.h"

namespace narrow::kernels {

enum class UnaryF32 { kNegate, kAbs, kSqrt, kRelu, kExp, kSigmoid, kTanh, kSilu, kLeakyRelu, kClip, kHardSigmoid, kHardSwish, kErf, kGelu, kReplaceNan };
enum class BinaryF32 { kAdd, kSubtract, kMultiply, kDivide, kMax, kMin };

// params: kLeakyRelu {slope of x < 0}; kClip {lowest, highest}; kHardSigmoid {alpha, beta}: clip(alpha x + beta, 0, 1);
// kHardSwish {alpha, beta}: x times that; kReplaceNan {what NaN becomes}. Others ignore it.
using UnaryF32Function = void (*)(const float* x, float* y, std::size_t n, const float* params);
// a_step, b_step: 1 for a vector, 0 for one number used n times.
using BinaryF32Function = void (*)(const float* a, int a_step, const float* b, int b_step, float* y, std::size_t n);

struct ElementwiseF32 {
  base::Isa isa;  // the least that it needs
  UnaryF32Function (*unary)(UnaryF32);
  BinaryF32Function (*binary)(BinaryF32);
};

// Every implementation, best last.
std::span<const ElementwiseF32> elementwise_f32_kernels();

// The best for this processor (base::effective_isa()).
UnaryF32Function unary_f32(UnaryF32 function);
BinaryF32Function binary_f32(BinaryF32 function);

// One implementation a file.
UnaryF32Function unary_f32_reference(UnaryF32 function);
BinaryF32Function binary_f32_reference(BinaryF32 function);
UnaryF32Function unary_f32_avx2(UnaryF32 function);
BinaryF32Function binary_f32_avx2(BinaryF32 function);
UnaryF32Function unary_f32_avx512(UnaryF32 function);
BinaryF32Function binary_f32_avx512(BinaryF32 function);

}  // namespace narrow::kernels
