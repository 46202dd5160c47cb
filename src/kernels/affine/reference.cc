#include <cmath>
#include <limits>

#include "kernels/affine/affine.h"

namespace narrow::kernels {
namespace {

template <typename T>
void quantize(const float* x, std::size_t n, float scale, std::int32_t zero_point, T* q) {
  const float low = static_cast<float>(std::numeric_limits<T>::min() - zero_point);
  const float high = static_cast<float>(std::numeric_limits<T>::max() - zero_point);
  for (std::size_t i = 0; i < n; ++i) {
    float v = x[i] / scale;
    if (std::isnan(v)) v = 0;
    v = v < low ? low : v > high ? high : v;
    q[i] = static_cast<T>(static_cast<std::int32_t>(std::nearbyint(v)) + zero_point);
  }
}

template <typename T>
void dequantize(const T* q, std::size_t n, float scale, std::int32_t zero_point, float* x) {
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(q[i] - zero_point) * scale;
}

void min_max(const float* x, std::size_t n, float* min, float* max) {
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (std::size_t i = 0; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  *min = low <= high ? low : 0;
  *max = low <= high ? high : 0;
}

void error_u8(const float* x, const std::uint8_t* q, std::size_t n, float scale, std::int32_t zero_point, float* error, float* size) {
  *error = *size = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float difference = x[i] - static_cast<float>(q[i] - zero_point) * scale;
    *error += difference * difference;
    *size += x[i] * x[i];
  }
}

}  // namespace

const AffineKernels kAffineReference = {quantize<std::uint8_t>, quantize<std::int8_t>, dequantize<std::uint8_t>,
                                        dequantize<std::int8_t>, min_max, error_u8};

}  // namespace narrow::kernels
