// Matrix products, row-major.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "narrow/result.h"

namespace narrow::kernels {

// c[m, n] = alpha * op(a) * op(b) + beta * c. `lda`, `ldb`, `ldc` are the lengths of the stored rows. op(a) is [m, k],
// stored [k, m] when transposed. beta 0 ignores what c holds.
Status gemm_f32(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
                const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float beta, float* c,
                std::int64_t ldc, int threads);

// By definition, for element types that have no fast path: c[m, n] = a[m, k] * b[k, n]; integers wrap.
template <typename T>
void gemm_reference(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                    const T* b, T* c);

}  // namespace narrow::kernels
