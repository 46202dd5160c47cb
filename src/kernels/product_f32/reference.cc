#include <algorithm>

#include "kernels/product_f32/product_f32.h"

namespace narrow::kernels {

void product_f32_reference(const LeftF32& a, std::int64_t m, const PackedF32& b, std::int64_t first, std::int64_t last,
                           const ProductEpilogue& e, float* c, std::int64_t ldc) {
  const std::int64_t length = b.runs == 0 ? 0 : b.k / b.runs;
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t begin = b.first_panel(s) * kPanelColumnsF32, width = b.first_panel(s + 1) * kPanelColumnsF32 - begin;
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < std::min(width, b.n - begin); ++j) {
        float sum = e.bias == nullptr ? 0 : e.bias[begin + j];
        for (std::int64_t p = 0; p < b.k; ++p) {
          const std::int64_t run = p / length;
          sum += a.row(i)[(a.offsets == nullptr ? 0 : a.offsets[run]) + p % length] * b.strip(s)[p * width + j];
        }
        const std::int64_t at = i * ldc + begin + j;
        if (e.residual != nullptr) sum += e.residual[at];
        if (e.activation == ProductEpilogue::Activation::kLeaky && sum < 0) sum *= e.low;
        if (e.activation == ProductEpilogue::Activation::kClip) sum = std::min(std::max(sum, e.low), e.high);
        c[at] = sum;
      }
    }
  }
}

}  // namespace narrow::kernels
