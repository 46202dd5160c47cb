// com.microsoft Inverse: the inverse of each matrix of a batch.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Node;

Status infer_inverse(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  const graph::Type& x = context.input(0);
  if (x.ranked) {
    NARROW_TRY([[maybe_unused]] const graph::Dim side, unify_dims(context.node(), x.dims[x.dims.size() - 2], x.dims.back(), "the side of a matrix"));
  }
  return infer_like_input(context);
}

// Gauss-Jordan elimination with partial pivoting on [a | identity], rows of 2n. False when a is singular.
bool eliminate(std::vector<double>& rows, std::int64_t n) {
  const auto at = [&](std::int64_t row, std::int64_t column) -> double& { return rows[static_cast<std::size_t>(row * 2 * n + column)]; };
  for (std::int64_t c = 0; c < n; ++c) {
    std::int64_t pivot = c;
    for (std::int64_t r = c + 1; r < n; ++r) {
      if (std::fabs(at(r, c)) > std::fabs(at(pivot, c))) pivot = r;
    }
    if (at(pivot, c) == 0) return false;
    const double factor = 1 / at(pivot, c);
    for (std::int64_t j = 0; j < 2 * n; ++j) {
      if (pivot != c) std::swap(at(pivot, j), at(c, j));
      at(c, j) *= factor;
    }
    for (std::int64_t r = 0; r < n; ++r) {
      const double times = at(r, c);
      if (r == c || times == 0) continue;
      for (std::int64_t j = c; j < 2 * n; ++j) at(r, j) -= times * at(c, j);
    }
  }
  return true;
}

Status run_inverse(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() < 2 || x.shape()[x.shape().size() - 2] != x.shape().back()) {
    return invalid_argument(fmt::format("{}: the input has shape {}, expected square matrices", where(node), to_string(x.shape())));
  }
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), x.shape()));
  if (x.size() == 0) return {};
  const std::int64_t n = x.shape().back(), matrices = x.size() / (n * n);
  std::vector<double> rows(static_cast<std::size_t>(2 * n * n));
  for (std::int64_t m = 0; m < matrices; ++m) {
    bool regular = true;
    dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          rows[i * 2 * n + j] = load(pointer<T>(x)[(m * n + i) * n + j]);
          rows[i * 2 * n + n + j] = i == j ? 1 : 0;
        }
      }
      regular = eliminate(rows, n);
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) pointer<T>(*y)[(m * n + i) * n + j] = store<T>(static_cast<Compute<T>>(rows[i * 2 * n + n + j]));
      }
    });
    if (!regular) return invalid_argument(fmt::format("{}: matrix {} has no inverse", where(node), m));
  }
  return {};
}

const std::array kOperators = {
    Operator{.name = "Inverse", .domain = "com.microsoft", .infer = infer_inverse, .run = run_inverse},
};

}  // namespace

std::span<const Operator> inverse_operators() { return kOperators; }

}  // namespace narrow::operators
