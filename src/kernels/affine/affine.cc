#include "kernels/affine/affine.h"

namespace narrow::kernels {

const AffineKernels& affine_kernels(base::Isa isa) {
  switch (isa) {
    case base::Isa::kScalar: return kAffineReference;
    case base::Isa::kAvx2: return kAffineAvx2;
    case base::Isa::kAvx512: case base::Isa::kAvx512Vnni: return kAffineAvx512;
  }
  return kAffineReference;
}

const AffineKernels& affine_kernels() {
  static const AffineKernels& chosen = affine_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
