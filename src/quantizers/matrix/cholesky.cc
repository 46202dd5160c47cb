#include "quantizers/matrix/cholesky.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/columns.h"

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

// rows [count, width] become rows * L⁻ᵀ, with L the factored block on the diagonal; width <= kBlock.
class PanelSolver {
 public:
  PanelSolver(const float* diagonal, std::int64_t lda, std::int64_t width) : lda_(lda), width_(width), columns_(static_cast<std::size_t>(width * width)) {
    for (std::int64_t j = 0; j < width; ++j) {
      for (std::int64_t p = j; p < width; ++p) columns_[static_cast<std::size_t>(j * width + p)] = diagonal[p * lda + j];
    }
  }

  void solve(float* rows, std::int64_t count) const {
    const kernels::ColumnKernels& kernel = kernels::column_kernels();
    Columns tile(width_);
    for (std::int64_t first = 0; first < count; first += kTileRows) {
      const std::int64_t some = std::min(kTileRows, count - first);
      for (std::int64_t r = 0; r < some; ++r) {
        for (std::int64_t j = 0; j < width_; ++j) tile[j][r] = rows[(first + r) * lda_ + j];
      }
      for (std::int64_t j = 0; j < width_; ++j) {
        const float* column = columns_.data() + j * width_;
        alignas(64) float taken[kTileRows];
        for (std::int64_t r = 0; r < kTileRows; ++r) {
          tile[j][r] /= column[j];
          taken[r] = -tile[j][r];
        }
        kernel.spread(tile.data() + j + 1, taken, column + j + 1, width_ - j - 1);
      }
      for (std::int64_t r = 0; r < some; ++r) {
        for (std::int64_t j = 0; j < width_; ++j) rows[(first + r) * lda_ + j] = tile[j][r];
      }
    }
  }

 private:
  std::int64_t lda_, width_;
  std::vector<float> columns_;  // L's, each a row here
};

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
    const PanelSolver panel(a + at * n + at, n, width);
    const std::int64_t below = n - at - width;
    pool.parallel_for(static_cast<std::size_t>((below + kPanel - 1) / kPanel), [&](std::size_t tile, int) {
      const std::int64_t first = at + width + static_cast<std::int64_t>(tile) * kPanel;
      panel.solve(a + first * n + at, std::min(kPanel, n - first));
    });
  }
  return true;
}

Status solve_rows(const float* factor, std::int64_t n, float* rows, std::int64_t count) {
  // Y = R L⁻ᵀ, then X = Y L⁻¹.
  for (std::int64_t at = 0; at < n; at += kBlock) {
    const std::int64_t width = std::min(kBlock, n - at);
    NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, true, count, width, at, -1, rows, n, factor + at * n, n, 1, rows + at, n, 1));
    PanelSolver(factor + at * n + at, n, width).solve(rows + at, count);
  }
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t at = (end - 1) / kBlock * kBlock, width = end - at;
    NARROW_RETURN_IF_ERROR(kernels::gemm_f32(false, false, count, width, n - end, -1, rows + end, n, factor + end * n + at, n, 1, rows + at, n, 1));
    const float* diagonal = factor + at * n + at;
    for (std::int64_t i = 0; i < count; ++i) {
      float* row = rows + i * n + at;
      for (std::int64_t j = width - 1; j >= 0; --j) {
        row[j] /= diagonal[j * n + j];
        kernels::column_kernels().add(row, -row[j], diagonal + j * n, j);
      }
    }
    end = at;
  }
  return {};
}

Result<std::vector<float>> damped_factor(const float* hessian, std::int64_t n, std::span<const std::int64_t> order, double& damping,
                                         base::ThreadPool& pool) {
  double mean = 0;
  for (std::int64_t k = 0; k < n; ++k) mean += hessian[k * n + k];
  mean /= static_cast<double>(n);
  if (!(mean > 0)) return std::vector<float>();
  std::vector<float> factor(static_cast<std::size_t>(n * n));
  for (int attempt = 0; attempt < 6; ++attempt) {
    if (attempt > 0) damping = std::max(damping * 10, 1e-4);
    pool.parallel_for(static_cast<std::size_t>(n), [&](std::size_t i, int) {
      const float* from = hessian + (order.empty() ? static_cast<std::int64_t>(i) : order[i]) * n;
      float* to = factor.data() + static_cast<std::int64_t>(i) * n;
      for (std::size_t j = 0; j <= i; ++j) to[j] = from[order.empty() ? static_cast<std::int64_t>(j) : order[j]];
      to[i] += static_cast<float>(damping * mean);
    });
    NARROW_TRY(const bool held, cholesky(factor.data(), n, pool));
    if (held) return factor;
  }
  return std::vector<float>();
}

}  // namespace narrow::quantizers
