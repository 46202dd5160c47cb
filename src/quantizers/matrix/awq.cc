// AWQ's second half (its scales are scales.h): rounding to nearest in ranges clipped for the least squared error of what each
// group adds to the outputs, eᵀ H_gg e with H_gg the Hessian of the group's inputs.
#include <algorithm>
#include <limits>
#include <mutex>

#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

constexpr std::int64_t kWidest = 512;  // columns of a group; beyond, the diagonal of H has to do
constexpr int kRounds = 3;             // of codes and the scale that fits them

// The grids of one group of a tile of rows. `weight` is [column][row].
class ClipSearch {
 public:
  ClipSearch(const kernels::TileColumn* weight, const float* hessian, std::int64_t lda, std::int64_t columns, const GridOptions& options)
      : weight_(weight), hessian_(hessian), lda_(lda), columns_(columns), options_(options), steps_(columns), product_(columns), wanted_(columns) {}

  Status run(std::int64_t rows, Grid* grids) {
    NARROW_RETURN_IF_ERROR(times_hessian(weight_, wanted_.data()));
    std::fill_n(error_, kTileRows, std::numeric_limits<float>::infinity());
    Grid candidate[kTileRows];
    std::vector<float> row(static_cast<std::size_t>(columns_));
    Grid full[kTileRows];
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      for (std::int64_t k = 0; k < columns_; ++k) row[static_cast<std::size_t>(k)] = weight_[k][r];
      full[r] = min_max_grid(row.data(), columns_, options_);
    }
    for (int percent = 100; percent >= 55; percent -= 9) {
      // The part of what is cut that is cut below: halves, or all at one end.
      for (const float below : {0.5f, 0.0f, 1.0f}) {
        if (below != 0.5f && (options_.symmetric || percent == 100)) continue;
        for (std::int64_t r = 0; r < kTileRows; ++r) {
          const float scale = round_scale(full[r].scale * static_cast<float>(percent) / 100, options_.scale_type);
          const float finer = full[r].scale / scale, spare = static_cast<float>(options_.max_code()) * (finer - 1);
          const float zero = options_.symmetric ? static_cast<float>(full[r].zero) : std::nearbyint(static_cast<float>(full[r].zero) * finer - below * spare);
          candidate[r] = {scale, static_cast<int>(std::clamp(zero, 0.0f, static_cast<float>(options_.max_code())))};
        }
        NARROW_RETURN_IF_ERROR(consider(candidate));
      }
    }
    std::copy_n(best_, rows, grids);
    return {};
  }

 private:
  Status times_hessian(const kernels::TileColumn* from, kernels::TileColumn* to) {
    return kernels::gemm_f32(false, false, columns_, kTileRows, columns_, 1, hessian_, lda_, from[0], kTileRows, 0, to[0], kTileRows, 1);
  }

  Status consider(Grid (&candidate)[kTileRows]) {
    const kernels::ColumnKernels& kernel = kernels::column_kernels();
    alignas(64) float scale[kTileRows], low[kTileRows], high[kTileRows], error[kTileRows];
    for (int round = 0; round < kRounds; ++round) {
      for (std::int64_t r = 0; r < kTileRows; ++r) {
        scale[r] = candidate[r].scale;
        low[r] = static_cast<float>(-candidate[r].zero);
        high[r] = static_cast<float>(options_.max_code() - candidate[r].zero);
      }
      for (std::int64_t k = 0; k < columns_; ++k) kernel.round(weight_[k], weight_[k], scale, low, high, steps_[k], error);
      NARROW_RETURN_IF_ERROR(times_hessian(steps_.data(), product_.data()));
      // (w - c s)ᵀ H (w - c s), less wᵀ H w, which no grid changes.
      float along[kTileRows] = {}, square[kTileRows] = {};
      for (std::int64_t k = 0; k < columns_; ++k) {
        for (std::int64_t r = 0; r < kTileRows; ++r) {
          along[r] += steps_[k][r] * wanted_[k][r];
          square[r] += steps_[k][r] * product_[k][r];
        }
      }
      for (std::int64_t r = 0; r < kTileRows; ++r) {
        const float found = scale[r] * (scale[r] * square[r] - 2 * along[r]);
        if (found < error_[r]) {
          error_[r] = found;
          best_[r] = candidate[r];
        }
        const float wanted = along[r] / square[r];
        if (wanted > 0.5f * scale[r] && wanted < 2 * scale[r]) candidate[r].scale = round_scale(wanted, options_.scale_type);
      }
    }
    return {};
  }

  const kernels::TileColumn* weight_;
  const float* hessian_;
  std::int64_t lda_, columns_;
  const GridOptions& options_;
  Columns steps_, product_, wanted_;  // wanted_: H w
  float error_[kTileRows];
  Grid best_[kTileRows];
};

}  // namespace

Status awq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note) {
  const std::int64_t group_size = problem.options.group_size, groups = problem.groups(), n = problem.columns;
  if (group_size <= kWidest) {
    coded.grids.resize(static_cast<std::size_t>(problem.rows * groups));
    const GridOptions options = problem.grid_options();
    std::mutex mutex;
    Status failed;
    for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
      Columns tile(group_size);
      Grid found[kTileRows];
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t at = g * group_size, size = problem.group_end(g) - at;
        for (std::int64_t r = 0; r < count; ++r) {
          for (std::int64_t k = 0; k < size; ++k) tile[k][r] = problem.weight[(first + r) * n + at + k];
        }
        Status done = ClipSearch(tile.data(), problem.hessian + at * n + at, n, size, options).run(count, found);
        if (!done) {
          std::lock_guard lock(mutex);
          failed = std::move(done);
          return;
        }
        for (std::int64_t r = 0; r < count; ++r) coded.grids[static_cast<std::size_t>((first + r) * groups + g)] = found[r];
      }
    });
    NARROW_RETURN_IF_ERROR(std::move(failed));
  }
  return round_to_nearest(problem, coded, note);
}

}  // namespace narrow::quantizers
