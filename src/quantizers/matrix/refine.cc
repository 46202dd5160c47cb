// Descent on what GPTQ found: codes and scales one after another, each to its best value while all others stand (the codes:
// Behdin et al. 2023, QuantEase, arXiv:2309.01885). With G = (W - Ŵ) H kept up to date,
//   the best value of ŵ_k is ŵ_k + G_k / H_kk, and the best change of a group's scale is c·G / cᵀ H c with c the group's
// codes less its zero. The error never grows.
#include <algorithm>
#include <cmath>
#include <mutex>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kBlock = 128;  // columns changed before the rest of G hears of it
constexpr std::int64_t kRows = kTileRows;
constexpr std::int64_t kSparse = 8;   // one change in so many, or fewer: by rows rather than as a matrix product
constexpr int kScaleSweeps = 2;       // scales settle first; a change of one changes its whole group

// A block of columns of one tile of rows.
struct Block {
  Columns gradient{kBlock};  // of G
  Columns steps{kBlock};     // code - zero
  Columns change{kBlock};    // of W - Ŵ since the block began
  Columns product{kBlock};   // scratch
};

// The scale of the group at columns [begin, end) of the block. False when none changed.
bool improve_scale(Block& block, const float* hessian, std::int64_t lda, std::int64_t begin, std::int64_t end, std::int64_t width,
                   std::int64_t count, Grid* grids, std::int64_t stride, encodings::ScaleType type) {
  const kernels::ColumnKernels& kernel = kernels::column_kernels();
  alignas(64) float along[kRows] = {}, square[kRows] = {}, delta[kRows] = {};
  std::fill_n(block.product[begin], (end - begin) * kRows, 0.0f);
  for (std::int64_t k = begin; k < end; ++k) kernel.spread(block.product.data() + begin, block.steps[k], hessian + k * lda + begin, end - begin);
  for (std::int64_t k = begin; k < end; ++k) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      along[r] += block.steps[k][r] * block.gradient[k][r];
      square[r] += block.steps[k][r] * block.product[k][r];
    }
  }
  bool any = false;
  for (std::int64_t r = 0; r < count; ++r) {
    Grid& grid = grids[r * stride];
    if (!(square[r] > 0)) continue;
    const float wanted = grid.scale + along[r] / square[r];
    if (!(wanted > 0.5f * grid.scale && wanted < 2 * grid.scale)) continue;
    const float scale = round_scale(wanted, type), step = scale - grid.scale;
    if (step == 0 || !(step * (step * square[r] - 2 * along[r]) < 0)) continue;
    delta[r] = -step;
    grid.scale = scale;
    any = true;
  }
  if (!any) return false;
  for (std::int64_t k = begin; k < end; ++k) {
    alignas(64) float change[kRows];
    for (std::int64_t r = 0; r < kRows; ++r) {
      change[r] = delta[r] * block.steps[k][r];
      block.change[k][r] += change[r];
    }
    kernel.spread(block.gradient.data(), change, hessian + k * lda, width);
  }
  return true;
}

// The codes of the group at columns [begin, end). False when none changed.
bool improve_codes(Block& block, const float* hessian, std::int64_t lda, std::int64_t begin, std::int64_t end, std::int64_t width,
                   const float* scale, const float* low, const float* high) {
  const kernels::ColumnKernels& kernel = kernels::column_kernels();
  bool moved = false;
  for (std::int64_t k = begin; k < end; ++k) {
    alignas(64) float change[kRows];
    if (!kernel.descend(block.gradient[k], 1 / hessian[k * lda + k], scale, low, high, block.steps[k], change)) continue;
    moved = true;
    for (std::int64_t r = 0; r < kRows; ++r) block.change[k][r] += change[r];
    kernel.spread(block.gradient.data(), change, hessian + k * lda, width);
  }
  return moved;
}

}  // namespace

Status refine(const MatrixProblem& problem, std::span<const float> hessian, CodedMatrix& coded) {
  const std::int64_t n = problem.columns, groups = problem.groups(), group_size = problem.options.group_size;
  const float max_code = static_cast<float>(problem.grid_options().max_code());
  // Whole groups, or parts of one whose scale then stays.
  const bool whole = group_size <= kBlock;
  const std::int64_t width_of_block = whole ? kBlock / group_size * group_size : kBlock;
  const kernels::ColumnKernels& kernel = kernels::column_kernels();
  std::mutex mutex;
  Status failed;

  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    std::vector<float> error(static_cast<std::size_t>(count * n)), gradient(error.size()), change(static_cast<std::size_t>(count * kBlock));
    Block block;
    // Columns from `to` on of G take up what `from` [count, width] says of the columns from `begin` on.
    const auto product = [&](const float* from, std::int64_t lda, std::int64_t begin, std::int64_t width, float beta, std::int64_t to) {
      Status done = kernels::gemm_f32(false, false, count, n - to, width, 1, from, lda, hessian.data() + begin * n + to, n, beta, gradient.data() + to, n, 1);
      if (done) return true;
      std::lock_guard lock(mutex);
      failed = std::move(done);
      return false;
    };
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t k = 0; k < n; ++k) {
        const Grid& grid = coded.grids[static_cast<std::size_t>((first + r) * groups + k / group_size)];
        const std::int64_t at = (first + r) * n + k;
        error[static_cast<std::size_t>(r * n + k)] = problem.weight[at] - static_cast<float>(coded.codes[static_cast<std::size_t>(at)] - grid.zero) * grid.scale;
      }
    }
    if (!product(error.data(), n, 0, n, 0, 0)) return;
    for (int sweep = 0; sweep < problem.options.refine; ++sweep) {
      bool moved = false;
      const bool final = sweep + 1 == problem.options.refine;  // nobody comes back to the columns in front then
      for (std::int64_t begin = 0; begin < n; begin += width_of_block) {
        const std::int64_t width = std::min(width_of_block, n - begin);
        for (std::int64_t k = 0; k < width; ++k) {
          for (std::int64_t r = 0; r < count; ++r) {
            block.gradient[k][r] = gradient[static_cast<std::size_t>(r * n + begin + k)];
            block.steps[k][r] = static_cast<float>(coded.codes[static_cast<std::size_t>((first + r) * n + begin + k)] -
                                                    coded.grids[static_cast<std::size_t>((first + r) * groups + (begin + k) / group_size)].zero);
          }
        }
        std::fill_n(block.change[0], kBlock * kRows, 0.0f);
        const float* corner = hessian.data() + begin * n + begin;
        for (std::int64_t at = begin; at < begin + width;) {
          const std::int64_t group = at / group_size, end = std::min(begin + width, problem.group_end(group));
          Grid* grids = coded.grids.data() + first * groups + group;
          if (whole && sweep < kScaleSweeps) moved |= improve_scale(block, corner, n, at - begin, end - begin, width, count, grids, groups, problem.options.scale_type);
          alignas(64) float scale[kRows], low[kRows] = {}, high[kRows] = {};
          std::fill_n(scale, kRows, 1.0f);
          for (std::int64_t r = 0; r < count; ++r) {
            scale[r] = grids[r * groups].scale;
            low[r] = static_cast<float>(-grids[r * groups].zero);
            high[r] = max_code + low[r];
          }
          moved |= improve_codes(block, corner, n, at - begin, end - begin, width, scale, low, high);
          at = end;
        }
        std::int64_t changed = 0;
        for (std::int64_t r = 0; r < count; ++r) {
          for (std::int64_t k = 0; k < width; ++k) {
            const float by = block.change[k][r];
            change[static_cast<std::size_t>(r * kBlock + k)] = by;
            changed += by != 0;
            const int zero = coded.grids[static_cast<std::size_t>((first + r) * groups + (begin + k) / group_size)].zero;
            coded.codes[static_cast<std::size_t>((first + r) * n + begin + k)] = static_cast<std::uint8_t>(static_cast<int>(block.steps[k][r]) + zero);
          }
        }
        const std::int64_t to = final ? begin + width : 0;
        if (changed * kSparse > count * width) {
          if (!product(change.data(), kBlock, begin, width, 1, to)) return;
        } else if (changed > 0) {
          for (std::int64_t r = 0; r < count; ++r) {
            for (std::int64_t k = 0; k < width; ++k) {
              const float by = change[static_cast<std::size_t>(r * kBlock + k)];
              if (by != 0) kernel.add(gradient.data() + r * n + to, by, hessian.data() + (begin + k) * n + to, n - to);
            }
          }
        }
      }
      if (!moved) break;
    }
  });
  return failed;
}

}  // namespace narrow::quantizers
