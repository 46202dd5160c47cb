#include <algorithm>
#include <mutex>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kMeasuredRows = 256;          // at least
constexpr std::int64_t kProducts = std::int64_t{1} << 31;  // at most, where that leaves as many rows

// Rows of a large matrix are many and alike: the cost of measuring all would be that of GPTQ itself.
std::int64_t measured_rows(const MatrixProblem& problem) {
  const std::int64_t affordable = kProducts / problem.columns / problem.columns;
  return std::min(problem.rows, std::max(kMeasuredRows, affordable));
}

}  // namespace

Result<double> weighted_square(const MatrixProblem& problem, const std::function<void(std::int64_t row, float* out)>& fill) {
  const std::int64_t n = problem.columns, measured = measured_rows(problem), tiles = base::ceil_div(measured, kTileRows);
  std::vector<double> sums(static_cast<std::size_t>(tiles));
  std::mutex mutex;
  Status failed;
  problem.pool.parallel_for(static_cast<std::size_t>(tiles), [&](std::size_t tile, int) {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kTileRows, count = std::min(kTileRows, measured - first);
    std::vector<float> error(static_cast<std::size_t>(count * n)), product;
    for (std::int64_t i = 0; i < count; ++i) fill((first + i) * problem.rows / measured, error.data() + i * n);
    const float* other = error.data();
    if (problem.hessian != nullptr) {
      product.resize(error.size());
      Status done = kernels::gemm_f32(false, false, count, n, n, 1, error.data(), n, problem.hessian, n, 0, product.data(), n, 1);
      if (!done) {
        std::lock_guard lock(mutex);
        failed = std::move(done);
        return;
      }
      other = product.data();
    }
    for (std::size_t i = 0; i < error.size(); ++i) sums[tile] += static_cast<double>(error[i]) * other[i];
  });
  NARROW_RETURN_IF_ERROR(std::move(failed));
  double sum = 0;
  for (double part : sums) sum += part;
  return sum * static_cast<double>(problem.rows) / static_cast<double>(measured);
}

Result<double> error_of(const MatrixProblem& problem, const CodedMatrix& coded, std::span<const float> scales) {
  return weighted_square(problem, [&](std::int64_t row, float* out) {
    for (std::int64_t k = 0; k < problem.columns; ++k) {
      const Grid& grid = coded.grids[static_cast<std::size_t>(row * problem.groups() + k / problem.options.group_size)];
      const std::int64_t at = row * problem.columns + k;
      const float off = problem.weight[at] - static_cast<float>(coded.codes[static_cast<std::size_t>(at)] - grid.zero) * grid.scale;
      out[k] = scales.empty() ? off : off / scales[static_cast<std::size_t>(k)];
    }
  });
}

}  // namespace narrow::quantizers
