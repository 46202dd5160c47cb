#include "quantizers/matrix/matrix.h"

#include <fmt/format.h>

#include <cmath>
#include <mutex>

#include "base/checked.h"
#include "base/text.h"
#include "encodings/packed_codes.h"
#include "kernels/gemm/gemm.h"
#include "quantizers/matrix/checks.h"
#include "quantizers/matrix/compensation.h"
#include "quantizers/matrix/problem.h"

namespace narrow::quantizers {
namespace {

// The table: one row a method, each in the file of its name.
constexpr MatrixMethod kMethods[] = {
    {"rounding", "round to nearest", false, round_to_nearest},
    {"gptq", "GPTQ: each column takes up the rounding errors of those before it", true, gptq},
    {"awq", "AWQ: round to nearest, ranges clipped for each group's outputs (its scales between layers: scales.h)", true, awq},
    {"hqq", "HQQ: without data, ranges of least sum of |error|^0.7", false, hqq},
};

encodings::GroupedMatrix pack(const MatrixProblem& problem, const CodedMatrix& coded) {
  encodings::GroupedMatrix matrix;
  matrix.rows = problem.rows;
  matrix.columns = problem.columns;
  matrix.bits = problem.options.bits;
  matrix.group_size = problem.options.group_size;
  matrix.scale_type = problem.options.scale_type;
  matrix.codes.resize(static_cast<std::size_t>(matrix.rows * matrix.row_bytes()));
  problem.pool.parallel_for(static_cast<std::size_t>(matrix.rows), [&](std::size_t row, int) {
    std::uint8_t* to = matrix.codes.data() + static_cast<std::int64_t>(row) * matrix.row_bytes();
    const std::uint8_t* from = coded.codes.data() + static_cast<std::int64_t>(row) * matrix.columns;
    for (std::int64_t k = 0; k < matrix.columns; ++k) encodings::write_code(to, matrix.bits, k, from[k]);
  });
  for (const Grid& grid : coded.grids) {
    matrix.scales.push_back(grid.scale);
    if (!problem.options.symmetric) matrix.zeros.push_back(static_cast<std::uint8_t>(grid.zero));
  }
  return matrix;
}

}  // namespace

std::span<const MatrixMethod> matrix_methods() { return kMethods; }

Result<const MatrixMethod*> find_matrix_method(std::string_view name) {
  std::vector<std::string_view> names;
  for (const MatrixMethod& row : kMethods) {
    if (row.name == name) return &row;
    names.push_back(row.name);
  }
  return invalid_argument(fmt::format("there is no method '{}' for weights of few bits{}", base::escape_controls(name), base::did_you_mean(name, names)))
      .hint(fmt::format("methods: {}", fmt::join(names, ", ")));
}

Result<MatrixResult> quantize_matrix(const MatrixMethod& method, std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                                     const InputStatistics* statistics, const MatrixOptions& options, base::ThreadPool& pool,
                                     std::span<const float> residual) {
  NARROW_RETURN_IF_ERROR(check_options(options));
  if (method.needs_statistics && statistics == nullptr) {
    return invalid_argument(fmt::format("method '{}' needs calibration data", method.name)).hint("give a calibration file, or use method rounding");
  }
  NARROW_RETURN_IF_ERROR(check_weight(weight, rows, columns));
  if (statistics != nullptr) NARROW_RETURN_IF_ERROR(check_statistics(*statistics, columns));
  MatrixProblem problem{weight.data(), rows, columns, statistics == nullptr ? nullptr : statistics->hessian.data(), options, pool};
  if (options.group_size == 0 || options.group_size > columns) problem.options.group_size = columns;
  MatrixProblem plain = problem;
  plain.options.search = false;
  std::vector<float> target;  // what the method rounds, where it is not the weight
  if (method.needs_statistics && options.compensation > 0 && (!statistics->drift.empty() || !residual.empty())) {
    NARROW_TRY(target, compensated_weight(weight, rows, columns, *statistics, options.compensation, pool, residual));
    problem.weight = target.data();
  }

  MatrixResult result;
  CodedMatrix rounded, coded;
  NARROW_RETURN_IF_ERROR(round_to_nearest(plain, rounded, result.note));
  NARROW_TRY(const double total, weighted_square(problem, [&](std::int64_t row, float* out) {
    std::copy_n(problem.weight + row * columns, columns, out);
  }));
  NARROW_TRY(const double rounding, error_of(problem, rounded));
  NARROW_RETURN_IF_ERROR(method.run(problem, coded, result.note));
  NARROW_TRY(double error, error_of(problem, coded));
  if (!(error <= rounding)) {
    result.fell_back = true;
    result.note = fmt::format("{} gave {:.3g} times the error of plain rounding, which stands instead", method.name, rounding > 0 ? error / rounding : 0.0);
    error = rounding;
    coded = std::move(rounded);
  }
  result.error = total > 0 ? error / total : 0;
  result.rounding_error = total > 0 ? rounding / total : 0;
  result.matrix = pack(problem, coded);
  return result;
}

}  // namespace narrow::quantizers
