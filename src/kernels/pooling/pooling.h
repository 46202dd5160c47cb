// Pooling over the spatial axes of a tensor seen as [planes, spatial…], row-major, any spatial rank of at least 1.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/window.h"

namespace narrow::kernels {

// T: float, std::int8_t, std::uint8_t. A window that covers only padding gives the type's lowest value.
template <typename T>
void max_pool(const T* x, std::int64_t planes, std::span<const Window> axes, T* y, base::ThreadPool& pool);

// The same, and for each output the position of its maximum (the first, in row-major order) in the whole of x;
// `column_major` numbers the positions inside a plane with the first spatial axis fastest. -1 for windows of padding.
template <typename T>
void max_pool_with_indices(const T* x, std::int64_t planes, std::span<const Window> axes, T* y, std::int64_t* indices,
                           bool column_major, base::ThreadPool& pool);

// `count_padding`: divide by the taps inside the padded input instead of those inside the input.
void average_pool_f32(const float* x, std::int64_t planes, std::span<const Window> axes, bool count_padding, float* y,
                      base::ThreadPool& pool);

// (sum |x|^p)^(1/p) over each window.
void lp_pool_f32(const float* x, std::int64_t planes, std::span<const Window> axes, int p, float* y,
                 base::ThreadPool& pool);

// Channels-last: x [batch, spatial…, channels]. Every window is one sum or maximum of runs of channels.
// Precondition: at most kMaxPoolRank axes.
inline constexpr std::size_t kMaxPoolRank = 8;
enum class PoolKind { kMax, kAverage, kAverageCountingPadding };
void pool_channels_last_f32(PoolKind kind, const float* x, std::int64_t batch, std::span<const Window> axes,
                            std::int64_t channels, float* y, base::ThreadPool& pool);

// One number a plane of `size` elements.
template <typename T>
void global_max_pool(const T* x, std::int64_t planes, std::int64_t size, T* y);
void global_average_pool_f32(const float* x, std::int64_t planes, std::int64_t size, float* y);
void global_lp_pool_f32(const float* x, std::int64_t planes, std::int64_t size, int p, float* y);

}  // namespace narrow::kernels
