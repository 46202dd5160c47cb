// Cholesky factorization of a Hessian, in place.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "narrow/result.h"

namespace narrow::quantizers {

// Replaces the lower triangle (diagonal included) of the symmetric a [n, n] by L with a = L Lᵀ; what stands above the
// diagonal is left as it was or overwritten. False when a is not positive definite in f32: a's contents are then undefined.
// The same bits whatever the threads of `pool`.
Result<bool> cholesky(float* a, std::int64_t n, base::ThreadPool& pool);

}  // namespace narrow::quantizers
