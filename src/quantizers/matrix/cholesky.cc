#include "quantizers/matrix/cholesky.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/gemm/gemm.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kBlock = 128;  // columns factored at a time
constexpr std::int64_t kPanel = 128;  // rows of a task below the diagonal

// The block on the diagonal, by definition; sums in double.
bool factor_diagonal(float* a, std::int64_t lda, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = j; i < n; ++i) {
      double sum = a[i * lda + j];
      for (std::int64_t p = 0; p < j; ++p) sum -= static_cast<double>(a[i * lda + p]) * a[j * lda + p];
      if (i > j) {
        a[i * lda + j] = static_cast<float>(sum / a[j * lda + j]);
      } else {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        a[j * lda + j] = static_cast<float>(std::sqrt(sum));
        if (a[j * lda + j] <= 0) return false;
      }
    }
  }
  return true;
}

// rows [count, n] become rows * L⁻ᵀ, with L the factored diagonal block.
void solve_panel(const float* diagonal, float* rows, std::int64_t lda, std::int64_t count, std::int64_t n) {
  for (std::int64_t i = 0; i < count; ++i) {
    float* row = rows + i * lda;
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = row[j];
      for (std::int64_t p = 0; p < j; ++p) sum -= row[p] * diagonal[j * lda + p];
      row[j] = sum / diagonal[j * lda + j];
    }
  }
}

}  // namespace

Result<bool> cholesky(float* a, std::int64_t n, base::ThreadPool& pool) {
  std::mutex mutex;
  Status failed;
  for (std::int64_t at = 0; at < n; at += kBlock) {
    const std::int64_t width = std::min(kBlock, n - at);
    // What earlier columns take from this block column, in tiles of rows; each product runs on one thread.
    const std::int64_t tiles = (n - at + kPanel - 1) / kPanel;
    if (at > 0) {
      pool.parallel_for(static_cast<std::size_t>(tiles), [&](std::size_t tile, int) {
        const std::int64_t first = at + static_cast<std::int64_t>(tile) * kPanel;
        Status done = kernels::gemm_f32(false, true, std::min(kPanel, n - first), width, at, -1, a + first * n, n, a + at * n, n, 1,
                                        a + first * n + at, n, 1);
        if (!done) {
          std::lock_guard lock(mutex);
          failed = std::move(done);
        }
      });
      NARROW_RETURN_IF_ERROR(std::move(failed));
    }
    if (!factor_diagonal(a + at * n + at, n, width)) return false;
    const std::int64_t below = n - at - width;
    pool.parallel_for(static_cast<std::size_t>((below + kPanel - 1) / kPanel), [&](std::size_t tile, int) {
      const std::int64_t first = at + width + static_cast<std::int64_t>(tile) * kPanel;
      solve_panel(a + at * n + at, a + first * n + at, n, std::min(kPanel, n - first), width);
    });
  }
  return true;
}

}  // namespace narrow::quantizers
