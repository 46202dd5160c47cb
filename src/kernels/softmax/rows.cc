#include "kernels/softmax/rows.h"

#include <cmath>

#include "base/cpu.h"

namespace narrow::kernels {

const SoftmaxRows kSoftmaxRowsScalar = {
    [](const float* x, std::int64_t n) {
      float largest = x[0];
      for (std::int64_t i = 1; i < n; ++i) largest = largest < x[i] ? x[i] : largest;
      return largest;
    },
    [](const float* x, std::int64_t n, float shift, float* y) {
      float sum = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const float e = std::exp(x[i] - shift);
        if (y != nullptr) y[i] = e;
        sum += e;
      }
      return sum;
    },
    [](float* y, std::int64_t n, float by) {
      for (std::int64_t i = 0; i < n; ++i) y[i] *= by;
    },
};

const SoftmaxRows& softmax_rows() {
  const base::Isa isa = base::effective_isa();
  return isa >= base::Isa::kAvx512 ? kSoftmaxRowsAvx512 : isa >= base::Isa::kAvx2 ? kSoftmaxRowsAvx2 : kSoftmaxRowsScalar;
}

}  // namespace narrow::kernels
