// com.microsoft QLinearReduceMean: the mean of 8-bit codes along axes, as new codes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/affine/affine.h"
#include "operators/families.h"
#include "operators/quantized_io.h"
#include "operators/type_rules.h"

namespace narrow::operators {
namespace {

using graph::Dim;
using graph::Node;
using graph::Type;
using graph::TypeKind;

// data, data_scale, data_zero_point, reduced_scale, reduced_zero_point
Result<std::vector<bool>> reduced_axes(const Node& node, int rank) {
  const std::vector<std::int64_t> axes = node.get_ints("axes");
  std::vector<bool> reduced(static_cast<std::size_t>(rank), axes.empty());
  NARROW_TRY(const std::vector<int> normal, normalize_axes(node, axes, rank));
  for (int axis : normal) reduced[static_cast<std::size_t>(axis)] = true;
  return reduced;
}

Status infer_reduce_mean(InferContext& context) {
  const Node& node = context.node();
  const Type& x = context.input(0);
  if (x.kind != TypeKind::kTensor) return {};
  Type y = x;
  if (x.ranked) {
    NARROW_TRY(const std::vector<bool> reduced, reduced_axes(node, x.rank()));
    y.dims.clear();
    for (std::size_t d = 0; d < reduced.size(); ++d) {
      if (!reduced[d]) y.dims.push_back(x.dims[d]);
      else if (node.get_int("keepdims", 1) != 0) y.dims.push_back(Dim(1));
    }
  }
  context.set_output(0, std::move(y));
  return {};
}

Status run_reduce_mean(const Node& node, RunContext& context) {
  const Tensor& x = context.input(0);
  NARROW_RETURN_IF_ERROR(check_code_type(node, "the input", x.dtype()));
  NARROW_TRY(const TensorQuant qx, read_quant(node, "the input", context.input(1), context.input(2)));
  NARROW_TRY(const TensorQuant qy, read_quant(node, "the output", context.input(3), context.has_input(4) ? context.input(4) : Tensor()));
  NARROW_TRY(const std::vector<bool> reduced, reduced_axes(node, x.rank()));
  Shape shape;
  std::vector<std::int64_t> strides(reduced.size(), 0);  // of the sums, 0 along what is reduced
  std::int64_t sums_count = 1;
  for (std::size_t d = reduced.size(); d-- > 0;) {
    if (reduced[d]) continue;
    strides[d] = sums_count;
    sums_count *= x.shape()[d];
  }
  for (std::size_t d = 0; d < reduced.size(); ++d) {
    if (!reduced[d]) shape.push_back(x.shape()[d]);
    else if (node.get_int("keepdims", 1) != 0) shape.push_back(1);
  }
  NARROW_TRY(Tensor * y, context.output(0, x.dtype(), shape));
  if (y->size() == 0) return {};
  if (x.size() == 0) return invalid_argument(fmt::format("{}: the mean of nothing (shape {})", where(node), to_string(x.shape())));
  std::vector<std::int64_t> sums(static_cast<std::size_t>(sums_count)), at(reduced.size(), 0);  // sums of codes are exact
  const auto* codes = static_cast<const std::uint8_t*>(x.raw());
  const bool is_signed = x.dtype() == DType::kS8;
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    sums[static_cast<std::size_t>(place)] += is_signed ? static_cast<std::int8_t>(codes[i]) : codes[i];
    for (std::size_t d = at.size(); d-- > 0;) {  // to the next element
      place += strides[d];
      if (++at[d] < x.shape()[d]) break;
      place -= strides[d] * x.shape()[d];
      at[d] = 0;
    }
  }
  const std::int64_t count = x.size() / sums_count;
  std::vector<float> means;
  for (std::int64_t sum : sums) means.push_back(static_cast<float>(sum - count * qx.zero_point) * qx.scale / static_cast<float>(count));
  const kernels::AffineKernels& fast = kernels::affine_kernels();
  if (is_signed) fast.quantize_s8(means.data(), means.size(), qy.scale, qy.zero_point, static_cast<std::int8_t*>(y->mutable_raw()));
  else fast.quantize_u8(means.data(), means.size(), qy.scale, qy.zero_point, static_cast<std::uint8_t*>(y->mutable_raw()));
  return {};
}

const std::array kOperators = {
    Operator{.name = "QLinearReduceMean", .domain = "com.microsoft", .min_inputs = 4, .max_inputs = 5, .infer = infer_reduce_mean, .run = run_reduce_mean},
};

}  // namespace

std::span<const Operator> integer_reduce_operators() { return kOperators; }

}  // namespace narrow::operators
