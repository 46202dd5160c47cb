// The inner loops of channels-last pooling, one table an instruction set. All give the same results bit for bit.
#pragma once

#include <cstdint>

namespace narrow::kernels {

struct PoolRows {
  void (*maximum)(float* into, const float* x, std::int64_t n);  // into[i] = max(into[i], x[i])
  void (*add)(float* into, const float* x, std::int64_t n);      // into[i] += x[i]
  void (*divide)(float* into, float by, std::int64_t n);         // into[i] /= by
};

extern const PoolRows kPoolRowsScalar, kPoolRowsAvx2, kPoolRowsAvx512;

const PoolRows& pool_rows();  // of this processor

}  // namespace narrow::kernels
