#include "kernels/half/half.h"

namespace narrow::kernels {

const HalfKernels& half_kernels(base::Isa isa) { return isa == base::Isa::kScalar ? kHalfReference : kHalfAvx2; }

const HalfKernels& half_kernels() {
  static const HalfKernels& chosen = half_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
