#include "kernels/group_dequantize/group_dequantize.h"

namespace narrow::kernels {
namespace {

template <int kBits>
void dequantize(const std::uint8_t* codes, std::size_t n, float scale, float zero_point, float* out) {
  constexpr std::size_t kPerByte = 8 / kBits;
  constexpr int kMask = (1 << kBits) - 1;
  for (std::size_t i = 0; i < n; ++i) {
    const int code = codes[i / kPerByte] >> (kBits * (i % kPerByte)) & kMask;
    out[i] = (static_cast<float>(code) - zero_point) * scale;
  }
}

}  // namespace

const GroupDequantizeKernels kGroupDequantizeReference = {dequantize<2>, dequantize<4>, dequantize<8>};

}  // namespace narrow::kernels
