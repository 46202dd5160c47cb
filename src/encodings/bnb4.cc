#include "encodings/bnb4.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace narrow::encodings {
namespace {

// Seven decades, the n-th of 2^n steps between 0.1 and 1, both signs, and 0 and 1.
std::array<float, 256> make_dynamic_map() {
  std::array<float, 256> map = {0.0f, 1.0f};
  std::size_t count = 2;
  for (int decade = 0; decade < 7; ++decade) {
    const int steps = 1 << decade;
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    const auto factor = static_cast<float>(std::pow(10.0, decade - 6));
    const auto boundary = [&](int i) {  // from either end, as torch.linspace does
      return i <= steps / 2 && steps > 1 ? std::fma(step, static_cast<float>(i), 0.1f) : i == 0 ? 0.1f : std::fma(-step, static_cast<float>(steps - i), 1.0f);
    };
    for (int i = 0; i < steps; ++i) {
      const float mean = (boundary(i) + boundary(i + 1)) / 2.0f;
      map[count++] = factor * mean;
      map[count++] = -factor * mean;
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

std::span<const float, 256> dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

}  // namespace narrow::encodings
