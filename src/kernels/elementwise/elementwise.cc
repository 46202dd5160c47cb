#include "kernels/elementwise/elementwise.h"

namespace narrow::kernels {
namespace {

constexpr ElementwiseF32 kKernels[] = {
    {base::Isa::kScalar, unary_f32_reference, binary_f32_reference},
    {base::Isa::kAvx2, unary_f32_avx2, binary_f32_avx2},
    {base::Isa::kAvx512, unary_f32_avx512, binary_f32_avx512},
};

const ElementwiseF32& best() {
  const ElementwiseF32* found = &kKernels[0];
  for (const ElementwiseF32& kernel : kKernels) {
    if (kernel.isa <= base::effective_isa()) found = &kernel;
  }
  return *found;
}

}  // namespace

std::span<const ElementwiseF32> elementwise_f32_kernels() { return kKernels; }
UnaryF32Function unary_f32(UnaryF32 function) { return best().unary(function); }
BinaryF32Function binary_f32(BinaryF32 function) { return best().binary(function); }

}  // namespace narrow::kernels
