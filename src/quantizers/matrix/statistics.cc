#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {
namespace {
constexpr std::int64_t kTile = 256;     // of the Hessian, a task
constexpr std::int64_t kTokens = 1024;  // summed up in one product, then added: keeps the sums of many tokens exact enough
}  // namespace

InputStatistics::InputStatistics(std::int64_t width)
    : columns(width), hessian(static_cast<std::size_t>(width * width)), mean_abs(static_cast<std::size_t>(width)) {}

Status InputStatistics::add(const float* x, std::int64_t rows, base::ThreadPool& pool) {
  if (rows <= 0) return {};
  const std::int64_t n = columns, tiles = (n + kTile - 1) / kTile;
  std::mutex mutex;
  Status failed;
  // The lower triangle by tiles, each on one thread; then mirrored.
  pool.parallel_for(static_cast<std::size_t>(tiles * tiles), [&](std::size_t task, int) {
    const std::int64_t i = static_cast<std::int64_t>(task) / tiles, j = static_cast<std::int64_t>(task) % tiles;
    if (j > i) return;
    const std::int64_t top = i * kTile, left = j * kTile, height = std::min(kTile, n - top), width = std::min(kTile, n - left);
    for (std::int64_t at = 0; at < rows; at += kTokens) {
      Status done = kernels::gemm_f32(true, false, height, width, std::min(kTokens, rows - at), 1, x + at * n + top, n, x + at * n + left,
                                      n, 1, hessian.data() + top * n + left, n, 1);
      if (!done) {
        std::lock_guard lock(mutex);
        failed = std::move(done);
        return;
      }
    }
    for (std::int64_t r = top; r < top + height; ++r) {
      for (std::int64_t c = left; c < left + width && c < r; ++c) hessian[static_cast<std::size_t>(c * n + r)] = hessian[static_cast<std::size_t>(r * n + c)];
    }
  });
  NARROW_RETURN_IF_ERROR(std::move(failed));
  pool.parallel_for(static_cast<std::size_t>(tiles), [&](std::size_t tile, int) {
    const std::int64_t left = static_cast<std::int64_t>(tile) * kTile, width = std::min(kTile, n - left);
    double sums[kTile] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < width; ++c) sums[c] += std::abs(x[r * n + left + c]);
    }
    const double before = static_cast<double>(tokens), after = static_cast<double>(tokens + rows);
    for (std::int64_t c = 0; c < width; ++c) {
      float& mean = mean_abs[static_cast<std::size_t>(left + c)];
      mean = static_cast<float>((mean * before + sums[c]) / after);
    }
  });
  tokens += rows;
  return {};
}

}  // namespace narrow::quantizers
