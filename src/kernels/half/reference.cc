#include "kernels/half/half.h"

namespace narrow::kernels {
namespace {

template <typename T>
void widen(const T* from, std::size_t n, float* to) {
  for (std::size_t i = 0; i < n; ++i) to[i] = base::to_float(from[i]);
}

}  // namespace

const HalfKernels kHalfReference = {widen<base::Float16>, widen<base::BFloat16>};

}  // namespace narrow::kernels
