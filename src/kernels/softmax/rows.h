// Softmax of one contiguous row, one table an instruction set. Results agree within a few units in the last place.
#pragma once

#include <cstdint>

namespace narrow::kernels {

struct SoftmaxRows {
  float (*maximum)(const float* x, std::int64_t n);  // n >= 1
  // y[i] = exp(x[i] - shift), and their sum. y may be x, or null when only the sum is wanted.
  float (*exponentials)(const float* x, std::int64_t n, float shift, float* y);
  void (*scale)(float* y, std::int64_t n, float by);
};

extern const SoftmaxRows kSoftmaxRowsScalar, kSoftmaxRowsAvx2, kSoftmaxRowsAvx512;

const SoftmaxRows& softmax_rows();  // of this processor

}  // namespace narrow::kernels
