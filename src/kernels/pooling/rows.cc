#include "kernels/pooling/rows.h"

#include "base/cpu.h"

namespace narrow::kernels {

const PoolRows kPoolRowsScalar = {
    [](float* into, const float* x, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) into[i] = into[i] < x[i] ? x[i] : into[i];
    },
    [](float* into, const float* x, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) into[i] += x[i];
    },
    [](float* into, float by, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) into[i] /= by;
    },
};

const PoolRows& pool_rows() {
  const base::Isa isa = base::effective_isa();
  return isa >= base::Isa::kAvx512 ? kPoolRowsAvx512 : isa >= base::Isa::kAvx2 ? kPoolRowsAvx2 : kPoolRowsScalar;
}

}  // namespace narrow::kernels
