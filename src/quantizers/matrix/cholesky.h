// Cholesky factorization of a Hessian, in place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "narrow/result.h"

namespace narrow::quantizers {

// Replaces the lower triangle (diagonal included) of the symmetric a [n, n] by L with a = L Lᵀ; what stands above the
// diagonal is left as it was or overwritten. False when a is not positive definite in f32: a's contents are then undefined.
// The same bits whatever the threads of `pool`.
Result<bool> cholesky(float* a, std::int64_t n, base::ThreadPool& pool);

// rows [count, n] become rows * a⁻¹, with `factor` the L of a that cholesky() left. On the calling thread.
Status solve_rows(const float* factor, std::int64_t n, float* rows, std::int64_t count);

// `hessian` [n, n] plus `damping` times its mean diagonal, rows and columns in `order` (empty: as they are), factored; `damping`
// grows tenfold up to five times until it holds, and is left at what was needed. Empty: none was enough.
Result<std::vector<float>> damped_factor(const float* hessian, std::int64_t n, std::span<const std::int64_t> order, double& damping,
                                         base::ThreadPool& pool);

}  // namespace narrow::quantizers
