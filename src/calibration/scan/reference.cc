#include <algorithm>
#include <cmath>

#include "calibration/scan/scan.h"

namespace narrow::calibration {
namespace {

ScanResult scan(const float* x, std::size_t n) {
  double sum[8] = {}, squares[8] = {};
  ScanResult r{x[0], x[0]};
  for (std::size_t i = 0; i < n; ++i) {
    r.finite = r.finite && std::isfinite(x[i]);
    r.min = std::min(r.min, x[i]);
    r.max = std::max(r.max, x[i]);
    r.zeros += x[i] == 0;
    const double d = x[i];
    sum[i % 8] += d;
    squares[i % 8] += d * d;  // exact in double, so contraction cannot change it
  }
  for (int lane = 0; lane < 8; ++lane) {
    r.sum += sum[lane];
    r.sum_squares += squares[lane];
  }
  r.min += 0.0f;  // -0 becomes 0, so that it does not matter which zero came first
  r.max += 0.0f;
  return r;
}

void count(const float* x, std::size_t n, float inverse_width, std::int32_t first, std::uint32_t* counts, std::size_t stride) {
  for (std::size_t i = 0; i < n; ++i) {
    ++counts[(i % 4) * stride + static_cast<std::size_t>(cell_of(x[i], inverse_width) - first)];
  }
}

}  // namespace

std::int32_t cell_of(float x, float inverse_width) {
  const float scaled = x * inverse_width;
  if (scaled == 0 && x < 0) return -1;
  return static_cast<std::int32_t>(std::floor(scaled));
}

constinit const ScanKernel kScanReference{"scan_reference", base::Isa::kScalar, scan, count};

}  // namespace narrow::calibration
