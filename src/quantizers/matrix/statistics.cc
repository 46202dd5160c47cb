#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kTile = 256;     // of the sums, a task
constexpr std::int64_t kMirror = 16;    // columns mirrored at a time
constexpr std::int64_t kTokens = 1024;  // summed up in one product, then added: keeps the sums of many tokens exact enough

// sum [m, n] += leftᵀ right by tiles, each on one thread, so that no sum depends on their number. `lower`: only tiles on and below
// the diagonal.
Status add_tiles(const float* left, std::int64_t m, const float* right, std::int64_t n, std::int64_t tokens, float* sum, bool lower, base::ThreadPool& pool) {
  const std::int64_t across = (n + kTile - 1) / kTile, down = (m + kTile - 1) / kTile;
  std::mutex mutex;
  Status failed;
  pool.parallel_for(static_cast<std::size_t>(down * across), [&](std::size_t task, int) {
    const std::int64_t i = static_cast<std::int64_t>(task) / across, j = static_cast<std::int64_t>(task) % across;
    if (lower && j > i) return;
    const std::int64_t beside = j * kTile;
    const bool halves = lower && i == j;  // of a tile on the diagonal, its upper right quarter is left out
    for (std::int64_t top = i * kTile; top < std::min(m, (i + 1) * kTile); top += halves ? kTile / 2 : kTile) {
      const std::int64_t height = std::min(halves ? kTile / 2 : kTile, m - top), width = std::min(halves ? top + height - beside : kTile, n - beside);
      for (std::int64_t at = 0; at < tokens; at += kTokens) {
        Status done = kernels::gemm_f32(true, false, height, width, std::min(kTokens, tokens - at), 1, left + at * m + top, m, right + at * n + beside, n, 1, sum + top * n + beside, n, 1);
        if (!done) {
          std::lock_guard lock(mutex);
          failed = std::move(done);
          return;
        }
      }
    }
  });
  return failed;
}

}  // namespace

InputStatistics::InputStatistics(std::int64_t width)
    : columns(width), hessian(static_cast<std::size_t>(width * width)), mean_abs(static_cast<std::size_t>(width)), max_abs(static_cast<std::size_t>(width)) {}

Status InputStatistics::add(const float* x, std::int64_t rows, base::ThreadPool& pool) {
  if (rows <= 0) return {};
  const std::int64_t n = columns;
  NARROW_RETURN_IF_ERROR(add_tiles(x, n, x, n, rows, hessian.data(), true, pool));
  pool.parallel_for(static_cast<std::size_t>((n + kTile - 1) / kTile), [&](std::size_t tile, int) {
    const std::int64_t begin = static_cast<std::int64_t>(tile) * kTile, width = std::min(kTile, n - begin);
    for (std::int64_t left = 0; left < begin + width; left += kMirror) {  // small squares, so that what is written stays near
      for (std::int64_t r = std::max(begin, left); r < begin + width; ++r) {
        for (std::int64_t c = left; c < std::min(r, left + kMirror); ++c) hessian[static_cast<std::size_t>(c * n + r)] = hessian[static_cast<std::size_t>(r * n + c)];
      }
    }
    double sums[kTile] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < width; ++c) {
        const float magnitude = std::abs(x[r * n + begin + c]);
        sums[c] += magnitude;
        float& most = max_abs[static_cast<std::size_t>(begin + c)];
        most = std::max(most, magnitude);
      }
    }
    const double before = static_cast<double>(tokens), after = static_cast<double>(tokens + rows);
    for (std::int64_t c = 0; c < width; ++c) {
      float& mean = mean_abs[static_cast<std::size_t>(begin + c)];
      mean = static_cast<float>((mean * before + sums[c]) / after);
    }
  });
  tokens += rows;
  return {};
}

Status InputStatistics::add_drift(const float* x_float, const float* x, std::int64_t rows, base::ThreadPool& pool) {
  drift.resize(hessian.size());
  std::vector<float> off(static_cast<std::size_t>(std::min(rows, kTokens) * columns));
  for (std::int64_t at = 0; at < rows; at += kTokens) {
    const std::int64_t count = std::min(kTokens, rows - at);
    for (std::int64_t i = 0; i < count * columns; ++i) off[static_cast<std::size_t>(i)] = x_float[at * columns + i] - x[at * columns + i];
    NARROW_RETURN_IF_ERROR(add_tiles(off.data(), columns, x + at * columns, columns, count, drift.data(), false, pool));
  }
  return {};
}

void InputStatistics::divide(std::span<const float> scales) {
  for (std::size_t i = 0; i < scales.size(); ++i) {
    mean_abs[i] /= scales[i];
    max_abs[i] /= scales[i];
    for (std::size_t j = 0; j < scales.size(); ++j) {
      hessian[i * scales.size() + j] /= scales[i] * scales[j];
      if (!drift.empty()) drift[i * scales.size() + j] /= scales[i] * scales[j];
    }
  }
}

Status add_products(const float* left, std::int64_t rows_of_sum, const float* right, std::int64_t columns, std::int64_t tokens, float* sum,
                    base::ThreadPool& pool) {
  return add_tiles(left, rows_of_sum, right, columns, tokens, sum, false, pool);
}

}  // namespace narrow::quantizers
