// Resampling, one axis at a time. An AxisTable says for each output position which inputs make it, with what weights;
// the caller builds it from whatever coordinate rule applies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace narrow::kernels {

struct AxisTable {
  std::int64_t in = 0, out = 0;
  int taps = 1;                        // per output
  std::vector<std::int32_t> index;     // [out, taps], each in [0, in)
  std::vector<float> weight;           // [out, taps]
  std::vector<bool> outside;           // [out] or empty: the output takes the extrapolation value instead
};

// [outer, in, inner] -> [outer, out, inner], weighted sums.
void resample_axis_f32(const float* x, std::int64_t outer, const AxisTable& axis, std::int64_t inner, float* y,
                       base::ThreadPool& pool);

// Gathers elements of `element_size` bytes along every axis at once; tables of one tap, one for each dimension.
void gather_axes(const void* x, std::span<const AxisTable> axes, std::size_t element_size, void* y,
                 base::ThreadPool& pool);

}  // namespace narrow::kernels
