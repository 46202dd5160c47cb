// 16-bit floats to f32.
#pragma once

#include <cstddef>

#include "base/cpu.h"
#include "base/float16.h"

namespace narrow::kernels {

// Exact, NaN included: every implementation gives the same bits.
struct HalfKernels {
  void (*widen_f16)(const base::Float16* from, std::size_t n, float* to);
  void (*widen_bf16)(const base::BFloat16* from, std::size_t n, float* to);
};

const HalfKernels& half_kernels(base::Isa isa);
const HalfKernels& half_kernels();  // for effective_isa()

extern const HalfKernels kHalfReference, kHalfAvx2;

}  // namespace narrow::kernels
