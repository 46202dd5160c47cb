// Det: the determinant of each matrix of a batch.
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "operators/dispatch.h"
#include "operators/families.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;

Status infer_det(InferContext& context) {
  NARROW_RETURN_IF_ERROR(check_dtype(context, 0, kFloatTypes));
  NARROW_RETURN_IF_ERROR(check_rank(context, 0, 2, -1));
  Type y = context.input(0);
  if (y.ranked) {
    NARROW_TRY([[maybe_unused]] const Dim side, unify_dims(context.node(), y.dims.back(), y.dims[y.dims.size() - 2], "the side of the matrix"));
    y.dims.resize(y.dims.size() - 2);
  }
  context.set_output(0, std::move(y));
  return {};
}

// Gaussian elimination with the largest pivot; `a` is used up.
double determinant(std::vector<double>& a, std::int64_t n) {
  double product = 1;
  for (std::int64_t column = 0; column < n; ++column) {
    std::int64_t pivot = column;
    for (std::int64_t row = column + 1; row < n; ++row) {
      if (std::fabs(a[row * n + column]) > std::fabs(a[pivot * n + column])) pivot = row;
    }
    if (pivot != column) {
      product = -product;
      for (std::int64_t j = 0; j < n; ++j) std::swap(a[pivot * n + j], a[column * n + j]);
    }
    const double head = a[column * n + column];
    product *= head;
    if (head == 0) return 0;
    for (std::int64_t row = column + 1; row < n; ++row) {
      const double factor = a[row * n + column] / head;
      for (std::int64_t j = column + 1; j < n; ++j) a[row * n + j] -= factor * a[column * n + j];
    }
  }
  return product;
}

Status run_det(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  if (!contains(kFloatTypes, x.dtype())) return dtype_error(node, x.dtype());
  if (x.rank() < 2 || x.shape().back() != x.shape()[x.shape().size() - 2]) {
    return invalid_argument(fmt::format("{}: an input of shape {}, expected square matrices", where(node), to_string(x.shape())));
  }
  const std::int64_t n = x.shape().back();
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), Shape(x.shape().begin(), x.shape().end() - 2)));
  dispatch(FloatList{}, x.dtype(), [&]<typename T>() {
    parallel_ranges(context.pool(), y->size(), [&](std::int64_t begin, std::int64_t end) {
      std::vector<double> matrix(static_cast<std::size_t>(n * n));
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t j = 0; j < n * n; ++j) matrix[j] = static_cast<double>(load(pointer<T>(x)[i * n * n + j]));
        pointer<T>(*y)[i] = store<T>(static_cast<Compute<T>>(determinant(matrix, n)));
      }
    }, n * n * (n / 3 + 1));
  });
  return {};
}

const std::array kOperators = {
    Operator{.name = "Det", .since = 22, .infer = infer_det, .run = run_det},
};

}  // namespace

std::span<const Operator> determinant_operators() { return kOperators; }

}  // namespace narrow::operators
