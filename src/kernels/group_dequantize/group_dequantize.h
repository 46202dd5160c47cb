// Packed weights of 2, 4 or 8 bits to f32, a group (one scale and zero point) at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace narrow::kernels {

// out[i] = (code i - zero_point) * scale for i in [0, n). Codes are unsigned and packed without gaps, the first in the
// lowest bits of the first byte. Equal on every instruction set, bit by bit.
using GroupDequantize = void (*)(const std::uint8_t* codes, std::size_t n, float scale, float zero_point, float* out);

struct GroupDequantizeKernels {
  GroupDequantize bits2, bits4, bits8;

  // Null for other widths.
  GroupDequantize of(int bits) const { return bits == 2 ? bits2 : bits == 4 ? bits4 : bits == 8 ? bits8 : nullptr; }
};

extern const GroupDequantizeKernels kGroupDequantizeReference, kGroupDequantizeAvx2;

const GroupDequantizeKernels& group_dequantize_kernels(base::Isa isa);
const GroupDequantizeKernels& group_dequantize_kernels();  // for the effective instruction set

}  // namespace narrow::kernels
