#include "kernels/codes/codes.h"

namespace narrow::kernels {

const CodeKernels& code_kernels([[maybe_unused]] base::Isa isa) {
#if defined(__x86_64__)
  static const CodeKernels avx512 = [] {
    CodeKernels kernels = kCodesAvx512;
    if (__builtin_cpu_supports("avx512vbmi")) kernels.look_up = look_up_avx512vbmi;
    return kernels;
  }();
  switch (isa) {
    case base::Isa::kScalar: return kCodesReference;
    case base::Isa::kAvx2: return kCodesAvx2;
    case base::Isa::kAvx512: case base::Isa::kAvx512Vnni: return avx512;
  }
#endif
  return kCodesReference;
}

const CodeKernels& code_kernels() {
  static const CodeKernels& chosen = code_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
