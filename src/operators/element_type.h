// Element types as attributes carry them: ONNX's TensorProto.DataType numbers ("to", "dtype", "output_dtype").
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>

#include "tensor/dtype.h"

namespace narrow::operators {

inline constexpr DType kNumberedTypes[] = {
    DType::kUndefined, DType::kF32,     DType::kU8,         DType::kS8,     DType::kU16,        DType::kS16,  DType::kS32,
    DType::kS64,       DType::kString,  DType::kBool,       DType::kF16,    DType::kF64,        DType::kU32,  DType::kU64,
    DType::kC64,       DType::kC128,    DType::kBF16,       DType::kF8E4M3FN, DType::kF8E4M3FNUZ, DType::kF8E5M2,
    DType::kF8E5M2FNUZ, DType::kU4,     DType::kS4,         DType::kF4E2M1, DType::kF8E8M0,     DType::kU2,   DType::kS2};

// Nullopt for 0 (absent) and numbers that mean nothing.
inline std::optional<DType> dtype_from_number(std::int64_t number) {
  if (number < 1 || number >= static_cast<std::int64_t>(std::size(kNumberedTypes))) return std::nullopt;
  return kNumberedTypes[number];
}

inline std::int64_t number_of(DType dtype) {
  for (std::size_t i = 1; i < std::size(kNumberedTypes); ++i) {
    if (kNumberedTypes[i] == dtype) return static_cast<std::int64_t>(i);
  }
  return 0;
}

}  // namespace narrow::operators
