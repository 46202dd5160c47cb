// What the methods of matrix.cc work on. Private to this folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "quantizers/matrix/columns.h"
#include "quantizers/matrix/grid.h"
#include "quantizers/matrix/matrix.h"

namespace narrow::quantizers {

struct MatrixProblem {
  const float* weight;           // [rows, columns], finite
  std::int64_t rows, columns;
  const float* hessian;          // [columns, columns], finite; null without statistics
  MatrixOptions options;         // valid; group_size in [1, columns]
  base::ThreadPool& pool;

  std::int64_t groups() const { return (columns + options.group_size - 1) / options.group_size; }
  std::int64_t group_end(std::int64_t group) const { return std::min(columns, (group + 1) * options.group_size); }
  GridOptions grid_options() const { return {options.bits, options.symmetric, options.scale_type}; }
};

// Codes not packed yet.
struct CodedMatrix {
  std::vector<std::uint8_t> codes;  // [rows, columns]
  std::vector<Grid> grids;          // [rows, groups]
};

// Calls body(first, count) for each tile of kTileRows rows, the last one shorter.
template <typename Body>
void for_row_tiles(const MatrixProblem& problem, const Body& body) {
  const std::int64_t tiles = (problem.rows + kTileRows - 1) / kTileRows;
  problem.pool.parallel_for(static_cast<std::size_t>(tiles), [&](std::size_t tile, int) {
    const std::int64_t first = static_cast<std::int64_t>(tile) * kTileRows;
    body(first, std::min(kTileRows, problem.rows - first));
  });
}

// The grid of every group, searched or by extremes as the options say; errors weighted by the diagonal of H to the `power`.
void choose_grids(const MatrixProblem& problem, CodedMatrix& coded, float power = 1);

// trace(E H Eᵀ) of the matrix E whose rows fill() writes, H the identity when null; of a large matrix from evenly spaced rows. The
// same sum whatever the threads.
Result<double> weighted_square(const MatrixProblem& problem, const std::function<void(std::int64_t row, float* out)>& fill);
// trace((W - Ŵ) H (W - Ŵ)ᵀ), each column of W - Ŵ divided by its entry of `scales` where there are any.
Result<double> error_of(const MatrixProblem& problem, const CodedMatrix& coded, std::span<const float> scales = {});

// The methods of the table. Where `coded` has grids already, they stand.
Status round_to_nearest(const MatrixProblem& problem, CodedMatrix& coded, std::string& note);
// Lowers the error of `coded` under `hessian` [columns, columns] (positive definite) by problem.options.refine sweeps.
Status refine(const MatrixProblem& problem, std::span<const float> hessian, CodedMatrix& coded);
Status gptq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note);
Status awq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note);
Status hqq(const MatrixProblem& problem, CodedMatrix& coded, std::string& note);

}  // namespace narrow::quantizers
