#include "kernels/group_dequantize/group_dequantize.h"

namespace narrow::kernels {

const GroupDequantizeKernels& group_dequantize_kernels(base::Isa isa) {
  return isa == base::Isa::kScalar ? kGroupDequantizeReference : kGroupDequantizeAvx2;
}

const GroupDequantizeKernels& group_dequantize_kernels() {
  static const GroupDequantizeKernels& chosen = group_dequantize_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
