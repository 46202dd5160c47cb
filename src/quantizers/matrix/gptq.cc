// GPTQ (Frantar et al. 2022, arXiv:2210.17323): columns are rounded one after another, each taking up the error of those
// before it. With H = L Lᵀ and columns processed from the last to the first, the best value of column k is
//   w_k + sum over j > k of (w_j - ŵ_j) L_jk / L_kk,
// which needs no inverse of H, and every row of the matrix goes its own way.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/cholesky.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kBlock = 64;  // columns whose errors are spread by rows; beyond, by one matrix product

// Columns in order of rising diagonal: the last, which goes first, has the largest.
std::vector<std::int64_t> column_order(const MatrixProblem& problem) {
  const std::int64_t n = problem.columns;
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (problem.options.act_order) {
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return problem.hessian[a * n + a] < problem.hessian[b * n + b];
    });
  } else {
    std::reverse(order.begin(), order.end());
  }
  return order;
}

}  // namespace

Status gptq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note) {
  const std::int64_t n = problem.columns, groups = problem.groups();
  const std::vector<std::int64_t> order = column_order(problem);
  double damping = problem.options.damping;
  NARROW_TRY(std::vector<float> factor, damped_factor(problem.hessian, n, order, damping, problem.pool));
  if (factor.empty()) {
    note = "calibration gave no usable Hessian: rounded to nearest";
    return round_to_nearest(problem, coded, note);
  }
  if (damping != problem.options.damping) note = fmt::format("the Hessian needed damping of {:.2g} times its mean diagonal", damping);
  // Each column divided by its diagonal element.
  std::vector<float> inverse(static_cast<std::size_t>(n));
  for (std::int64_t k = 0; k < n; ++k) inverse[static_cast<std::size_t>(k)] = 1 / factor[static_cast<std::size_t>(k * n + k)];
  problem.pool.parallel_for(static_cast<std::size_t>(n), [&](std::size_t i, int) {
    float* row = factor.data() + i * static_cast<std::size_t>(n);
    for (std::size_t j = 0; j <= i; ++j) row[j] *= inverse[j];
  });
  // The full weight would spare columns whose errors others take up: its root did best on language models.
  if (coded.grids.empty()) choose_grids(problem, coded, 0.5f);
  coded.codes.resize(static_cast<std::size_t>(problem.rows * n));
  const float max_code = static_cast<float>(problem.grid_options().max_code());
  const kernels::ColumnKernels& kernel = kernels::column_kernels();
  std::mutex mutex;
  Status failed;

  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    std::vector<float> errors(static_cast<std::size_t>(count * n));  // [row, column in order]
    std::vector<float> spread(static_cast<std::size_t>(count * kBlock));
    Columns wanted(kBlock);                                          // weights plus what earlier columns left behind
    alignas(64) float weight[kTileRows] = {}, scale[kTileRows], low[kTileRows] = {}, high[kTileRows] = {}, steps[kTileRows], error[kTileRows];
    std::fill_n(scale, kTileRows, 1.0f);
    for (std::int64_t end = n; end > 0;) {
      const std::int64_t begin = (end - 1) / kBlock * kBlock, width = end - begin;
      Status done = kernels::gemm_f32(false, false, count, width, n - end, 1, errors.data() + end, n, factor.data() + end * n + begin, n,
                                      0, spread.data(), kBlock, 1);
      if (!done) {
        std::lock_guard lock(mutex);
        failed = std::move(done);
        return;
      }
      for (std::int64_t r = 0; r < count; ++r) {
        const float* row = problem.weight + (first + r) * n;
        for (std::int64_t k = begin; k < end; ++k) wanted[k - begin][r] = row[order[static_cast<std::size_t>(k)]] + spread[static_cast<std::size_t>(r * kBlock + k - begin)];
      }
      for (std::int64_t k = end - 1; k >= begin; --k) {
        const std::int64_t column = order[static_cast<std::size_t>(k)], group = column / problem.options.group_size;
        for (std::int64_t r = 0; r < count; ++r) {
          const Grid& grid = coded.grids[static_cast<std::size_t>((first + r) * groups + group)];
          weight[r] = problem.weight[(first + r) * n + column];
          scale[r] = grid.scale;
          low[r] = static_cast<float>(-grid.zero);
          high[r] = max_code + low[r];
        }
        kernel.round(wanted[k - begin], weight, scale, low, high, steps, error);
        for (std::int64_t r = 0; r < count; ++r) {
          coded.codes[static_cast<std::size_t>((first + r) * n + column)] = static_cast<std::uint8_t>(steps[r] - low[r]);
          errors[static_cast<std::size_t>(r * n + k)] = error[r];
        }
        kernel.spread(wanted.data(), error, factor.data() + k * n + begin, k - begin);
      }
      end = begin;
    }
  });
  NARROW_RETURN_IF_ERROR(std::move(failed));
  if (problem.options.refine == 0) return {};
  // The factor has done its work: its memory takes the damped Hessian.
  double mean = 0;
  for (std::int64_t k = 0; k < n; ++k) mean += problem.hessian[k * n + k];
  mean /= static_cast<double>(n);
  problem.pool.parallel_for(static_cast<std::size_t>(n), [&](std::size_t k, int) {
    float* row = factor.data() + k * static_cast<std::size_t>(n);
    std::copy_n(problem.hessian + static_cast<std::int64_t>(k) * n, n, row);
    row[k] += static_cast<float>(damping * mean);
  });
  return refine(problem, factor, coded);
}

}  // namespace narrow::quantizers
