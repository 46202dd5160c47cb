#include "quantizers/matrix/compensation.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/checks.h"
#include "quantizers/matrix/cholesky.h"
#include "quantizers/matrix/columns.h"

namespace narrow::quantizers {
namespace {
constexpr double kDamping = 0.01;  // of the mean of H's diagonal; less than rounding wants, since nothing here is rounded
}

Result<std::vector<float>> compensated_weight(std::span<const float> weight, std::int64_t rows, std::int64_t columns, const InputStatistics& statistics,
                                              double strength, base::ThreadPool& pool, std::span<const float> residual) {
  const std::int64_t n = columns;
  const std::span<const float> drift = statistics.drift;
  NARROW_RETURN_IF_ERROR(check_weight(weight, rows, columns));
  NARROW_RETURN_IF_ERROR(check_statistics(statistics, columns));
  if (!(strength >= 0 && strength <= 1)) return invalid_argument(fmt::format("compensation of {}: expected 0 to 1", strength));
  if (!residual.empty() && residual.size() != weight.size()) {
    return invalid_argument(fmt::format("a residual of {} elements for a weight of {}", residual.size(), weight.size()));
  }
  if (!drift.empty() && drift.size() != statistics.hessian.size()) {
    return invalid_argument(fmt::format("a drift of {} elements for a Hessian of {}", drift.size(), statistics.hessian.size()));
  }
  NARROW_RETURN_IF_ERROR(check_finite(drift, n, "the drift of the layer's inputs"));
  NARROW_RETURN_IF_ERROR(check_finite(residual, n, "the residual beside the layer"));
  std::vector<float> target(weight.begin(), weight.end());
  if (strength == 0 || (drift.empty() && residual.empty())) return target;
  double damping = kDamping;
  NARROW_TRY(const std::vector<float> factor, damped_factor(statistics.hessian.data(), n, {}, damping, pool));
  if (factor.empty()) return target;
  std::mutex mutex;
  Status failed;
  pool.parallel_for(static_cast<std::size_t>(base::ceil_div(rows, kTileRows)), [&](std::size_t tile, int) {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kTileRows, count = std::min(kTileRows, rows - first);
    std::vector<float> move(static_cast<std::size_t>(count * n));
    if (!residual.empty()) std::copy_n(residual.data() + first * n, count * n, move.data());
    Status done;
    if (!drift.empty()) done = kernels::gemm_f32(false, false, count, n, n, 1, weight.data() + first * n, n, drift.data(), n, 1, move.data(), n, 1);
    if (done) done = solve_rows(factor.data(), n, move.data(), count);
    if (!done) {
      std::lock_guard lock(mutex);
      failed = std::move(done);
      return;
    }
    for (std::int64_t i = 0; i < count * n; ++i) target[static_cast<std::size_t>(first * n + i)] += static_cast<float>(strength) * move[static_cast<std::size_t>(i)];
  });
  NARROW_RETURN_IF_ERROR(std::move(failed));
  return target;
}

}  // namespace narrow::quantizers
