// The idx container of MNIST.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/image.h"
#include "narrow/result.h"

namespace narrow::datasets {

struct IdxArray {
  std::vector<std::int64_t> shape;
  ByteSpan data;  // inside the input
};

// Unsigned bytes only. Errors: corrupt, unsupported.
Result<IdxArray> parse_idx(ByteSpan bytes, const std::string& where);

}  // namespace narrow::datasets
