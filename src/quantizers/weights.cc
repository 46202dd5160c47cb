#include "quantizers/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narrow::quantizers {
namespace {

// Visits the elements of each slice: visit(slice, first element, count) for contiguous runs.
template <typename Visit>
void for_each_run(const Tensor& weight, int axis, const Visit& visit) {
  if (axis < 0) {
    visit(std::int64_t{0}, std::int64_t{0}, weight.size());
    return;
  }
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < weight.rank(); ++i) (i < axis ? outer : inner) *= i == axis ? 1 : weight.shape()[i];
  const std::int64_t slices = weight.shape()[axis];
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t s = 0; s < slices; ++s) visit(s, (o * slices + s) * inner, inner);
  }
}

template <typename T>
void fill(const Tensor& weight, int axis, const QuantParams& params, const encodings::AffineGrid& grid, Tensor& codes) {
  const std::span<const float> in = weight.data<float>();
  const std::span<T> out = codes.mutable_data<T>();
  for_each_run(weight, axis, [&](std::int64_t slice, std::int64_t first, std::int64_t count) {
    encodings::quantize<T>(in.subspan(first, count), {params.scale[slice], params.zero_point[slice]}, grid,
                           out.subspan(first, count));
  });
}

}  // namespace

Extremes extremes(const Tensor& weight, int axis) {
  const std::size_t slices = axis < 0 ? 1 : static_cast<std::size_t>(weight.shape()[axis]);
  Extremes found{std::vector<float>(slices, 0.0f), std::vector<float>(slices, 0.0f)};
  const std::span<const float> data = weight.data<float>();
  for_each_run(weight, axis, [&](std::int64_t slice, std::int64_t first, std::int64_t count) {
    for (float x : data.subspan(first, count)) {
      found.min[slice] = std::min(found.min[slice], x);
      found.max[slice] = std::max(found.max[slice], x);
    }
  });
  return found;
}

QuantParams weight_params(const Extremes& extremes, const encodings::AffineGrid& grid) {
  QuantParams params;
  for (std::size_t i = 0; i < extremes.min.size(); ++i) {
    const encodings::AffineParams one = encodings::affine_params(extremes.min[i], extremes.max[i], grid);
    params.scale.push_back(one.scale);
    params.zero_point.push_back(one.zero_point);
  }
  return params;
}

Tensor quantize_weight(const Tensor& weight, int axis, const QuantParams& params, const encodings::AffineGrid& grid,
                       DType storage_type) {
  Tensor codes = *Tensor::create(storage_type, weight.shape());
  if (storage_type == DType::kU8) fill<std::uint8_t>(weight, axis, params, grid, codes);
  else fill<std::int8_t>(weight, axis, params, grid, codes);
  return codes;
}

std::int32_t bias_code(double bias, double scale) {
  return static_cast<std::int32_t>(std::clamp(std::nearbyint(bias / scale), -kLargestBias, kLargestBias));
}

QuantType weight_type(DType storage_type, int axis, const encodings::AffineGrid& grid) {
  QuantType type;
  type.storage_type = storage_type;
  type.granularity = axis < 0 ? Granularity::per_tensor() : Granularity::per_channel(axis);
  type.symmetric = grid.symmetric;
  type.quant_min = grid.quant_min;
  type.quant_max = grid.quant_max;
  return type;
}

}  // namespace narrow::quantizers
