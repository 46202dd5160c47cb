// Softmax along one axis of a tensor seen as [outer, n, inner], row-major.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace narrow::kernels {

enum class SoftmaxKind { kSoftmax, kLogSoftmax, kHardmax };

// Hardmax puts 1 at the first largest element. `y` may be `x`.
void softmax_f32(SoftmaxKind kind, const float* x, std::int64_t outer, std::int64_t n, std::int64_t inner, float* y,
                 base::ThreadPool& pool);

}  // namespace narrow::kernels
