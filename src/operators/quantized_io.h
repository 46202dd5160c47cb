// Reading the scales and zero points that integer operators take as inputs.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "operators/operator.h"

namespace narrow::operators {

inline Status check_code_type(const graph::Node& node, const char* what, DType dtype) {
  if (dtype == DType::kU8 || dtype == DType::kS8) return {};
  return unsupported(fmt::format("node '{}' ({}): {} is {}, expected u8 or s8", node.name, node.op_type, what, to_string(dtype)));
}

// One scale, or one for each of `count` channels. Errors: corrupt.
inline Result<std::vector<float>> read_scales(const graph::Node& node, const char* what, const Tensor& scale, std::int64_t count) {
  if (!scale.defined() || !is_float(scale.dtype())) {
    return corrupt(fmt::format("node '{}' ({}): the scale of {} is missing or not a float", node.name, node.op_type, what));
  }
  if (scale.size() == 1 || scale.size() == count) return scale.to_float();
  return corrupt(fmt::format("node '{}' ({}): {} has {} scales, expected 1 or {}", node.name, node.op_type, what, scale.size(), count));
}

// Zero points as integers; one 0 when the input is omitted. Errors: corrupt.
inline Result<std::vector<std::int32_t>> read_zero_points(const graph::Node& node, const char* what, const Tensor& zero_point,
                                                          std::int64_t count) {
  if (!zero_point.defined()) return std::vector<std::int32_t>{0};
  if (!is_integer(zero_point.dtype()) || (zero_point.size() != 1 && zero_point.size() != count)) {
    return corrupt(fmt::format("node '{}' ({}): {} has {} zero points of {}, expected 1 or {} integers", node.name, node.op_type, what,
                               zero_point.size(), to_string(zero_point.dtype()), count));
  }
  std::vector<std::int32_t> values;
  for (std::int64_t v : zero_point.to_int64()) values.push_back(static_cast<std::int32_t>(v));
  return values;
}

// Parameters that hold for a whole tensor. Errors: corrupt, unsupported (one a channel).
struct TensorQuant {
  float scale = 1;
  std::int32_t zero_point = 0;
};
inline Result<TensorQuant> read_quant(const graph::Node& node, const char* what, const Tensor& scale, const Tensor& zero_point) {
  // As they come nearly always, read in place: this runs in every inference.
  if (scale.size() == 1 && scale.dtype() == DType::kF32 && zero_point.size() == 1 && (zero_point.dtype() == DType::kU8 || zero_point.dtype() == DType::kS8)) {
    const bool is_signed = zero_point.dtype() == DType::kS8;
    return TensorQuant{*scale.data<float>().data(), is_signed ? static_cast<std::int32_t>(*zero_point.data<std::int8_t>().data())
                                                              : static_cast<std::int32_t>(*zero_point.data<std::uint8_t>().data())};
  }
  NARROW_TRY(const std::vector<float> scales, read_scales(node, what, scale, 1));
  NARROW_TRY(const std::vector<std::int32_t> zeros, read_zero_points(node, what, zero_point, 1));
  return TensorQuant{scales[0], zeros[0]};
}

}  // namespace narrow::operators
