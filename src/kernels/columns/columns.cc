#include "kernels/columns/columns.h"

namespace narrow::kernels {

const ColumnKernels& column_kernels(base::Isa isa) {
  switch (isa) {
    case base::Isa::kScalar: return kColumnsReference;
    case base::Isa::kAvx2: return kColumnsAvx2;
    case base::Isa::kAvx512:
    case base::Isa::kAvx512Vnni: return kColumnsAvx512;
  }
  return kColumnsReference;
}

const ColumnKernels& column_kernels() {
  static const ColumnKernels& chosen = column_kernels(base::effective_isa());
  return chosen;
}

}  // namespace narrow::kernels
