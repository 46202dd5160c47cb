#include <mutex>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {

Result<double> weighted_square(const MatrixProblem& problem, const std::function<void(std::int64_t first, std::int64_t count, float* out)>& fill) {
  const std::int64_t n = problem.columns, tiles = base::ceil_div(problem.rows, kTileRows);
  std::vector<double> sums(static_cast<std::size_t>(tiles));
  std::mutex mutex;
  Status failed;
  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    std::vector<float> error(static_cast<std::size_t>(count * n)), product;
    fill(first, count, error.data());
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
    double sum = 0;
    for (std::size_t i = 0; i < error.size(); ++i) sum += static_cast<double>(error[i]) * other[i];
    sums[static_cast<std::size_t>(first / kTileRows)] = sum;
  });
  NARROW_RETURN_IF_ERROR(std::move(failed));
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

Result<double> error_of(const MatrixProblem& problem, const CodedMatrix& coded, std::span<const float> scales) {
  return weighted_square(problem, [&](std::int64_t first, std::int64_t count, float* out) {
    for (std::int64_t row = first; row < first + count; ++row) {
      for (std::int64_t k = 0; k < problem.columns; ++k) {
        const Grid& grid = coded.grids[static_cast<std::size_t>(row * problem.groups() + k / problem.options.group_size)];
        const std::int64_t at = row * problem.columns + k;
        const float off = problem.weight[at] - static_cast<float>(coded.codes[static_cast<std::size_t>(at)] - grid.zero) * grid.scale;
        *out++ = scales.empty() ? off : off / scales[static_cast<std::size_t>(k)];
      }
    }
  });
}

}  // namespace narrow::quantizers
