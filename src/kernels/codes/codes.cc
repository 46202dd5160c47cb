#include "kernels/codes/codes.h"

namespace narrow::kernels {
namespace {

CodeKernels with_vbmi() {
  CodeKernels kernels = kCodesAvx512;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vbmi")) kernels.look_up = look_up_avx512vbmi;
#endif
  return kernels;
}

}  // namespace

const CodeKernels& code_kernels(base::Isa isa) {
  static const CodeKernels avx512 = with_vbmi();
  switch (isa) {
    case base::Isa::kScalar: return kCodesReference;
    case base::Isa::kAvx2: return kCodesAvx2;
    case base::Isa::kAvx512: case base::Isa::kAvx512Vnni: return avx512;
  }
  return kCodesReference;
}

const CodeKernels& code_kernels() {
  static const CodeKernels& chosen = code_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
