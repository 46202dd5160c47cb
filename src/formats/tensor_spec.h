// What a tensor of a checkpoint is called and what it holds, without its bytes.
#pragma once

#include <cstdint>
#include <string>

#include "base/checked.h"
#include "tensor/tensor.h"

namespace narrow::formats {

struct TensorSpec {
  std::string name;
  DType dtype = DType::kUndefined;
  Shape shape;

  std::uint64_t bytes() const {  // 0 when the shape overflows
    const auto count = base::checked_product(shape);
    return count ? storage_bytes(dtype, *count).value_or(0) : 0;
  }
};

}  // namespace narrow::formats
