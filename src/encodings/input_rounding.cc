#include "encodings/input_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace narrow::encodings {

void round_inputs(const InputRounding& rounding, const float* x, std::int64_t rows, std::int64_t columns, float* out) {
  const bool whole = rounding.kind == InputRounding::Kind::kTensor;
  const auto zero = whole ? static_cast<float>(rounding.zero) : 0.0f;
  for (std::int64_t r = 0; r < rows; ++r, x += columns, out += columns) {
    float scale = rounding.scale;
    if (!whole) {
      float most = 0;
      for (std::int64_t k = 0; k < columns; ++k) most = std::max(most, std::abs(x[k]));
      scale = most / 127.5f;
      if (!(scale > 0)) scale = std::numeric_limits<float>::epsilon();
    }
    for (std::int64_t k = 0; k < columns; ++k) {
      // A NaN stays one: clamp would hide it.
      out[k] = (std::clamp(std::nearbyint(x[k] / scale) + zero, -128.0f, 127.0f) - zero) * scale;
    }
  }
}

}  // namespace narrow::encodings
