// Rounding to the nearest code, and the grids that GPTQ starts from.
#include <cmath>

#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {

void choose_grids(const MatrixProblem& problem, CodedMatrix& coded, float power) {
  const std::int64_t groups = problem.groups();
  coded.grids.resize(static_cast<std::size_t>(problem.rows * groups));
  std::vector<float> importance;
  if (problem.options.search && problem.hessian != nullptr) {
    importance.resize(static_cast<std::size_t>(problem.columns));
    for (std::int64_t k = 0; k < problem.columns; ++k) importance[static_cast<std::size_t>(k)] = std::pow(std::max(problem.hessian[k * problem.columns + k], 0.0f), power);
  }
  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    Columns tile(problem.options.search ? problem.options.group_size : 0);
    Grid found[kTileRows];
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t at = g * problem.options.group_size, size = problem.group_end(g) - at;
      if (problem.options.search) {
        for (std::int64_t r = 0; r < count; ++r) {
          for (std::int64_t k = 0; k < size; ++k) tile[k][r] = problem.weight[(first + r) * problem.columns + at + k];
        }
        searched_grids(tile.data(), importance.empty() ? nullptr : importance.data() + at, size, count, problem.grid_options(), found);
      }
      for (std::int64_t r = 0; r < count; ++r) {
        coded.grids[static_cast<std::size_t>((first + r) * groups + g)] =
            problem.options.search ? found[r] : min_max_grid(problem.weight + (first + r) * problem.columns + at, size, problem.grid_options());
      }
    }
  });
}

Status round_to_nearest(const MatrixProblem& problem, CodedMatrix& coded, std::string&) {
  if (coded.grids.empty()) choose_grids(problem, coded);
  coded.codes.resize(static_cast<std::size_t>(problem.rows * problem.columns));
  const int max_code = problem.grid_options().max_code();
  for_row_tiles(problem, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t row = first; row < first + count; ++row) {
      for (std::int64_t k = 0; k < problem.columns; ++k) {
        const Grid& grid = coded.grids[static_cast<std::size_t>(row * problem.groups() + k / problem.options.group_size)];
        const std::int64_t at = row * problem.columns + k;
        coded.codes[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(nearest_code(problem.weight[at], grid, max_code));
      }
    }
  });
  return {};
}

}  // namespace narrow::quantizers
