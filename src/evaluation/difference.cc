#include "evaluation/difference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace narrow::evaluation {
namespace {

constexpr double kLimitDb = 200.0;

bool numeric(DType dtype) { return is_float(dtype) || is_integer(dtype) || dtype == DType::kBool; }

}  // namespace

void Difference::add(std::span<const float> reference, std::span<const float> other) {
  const std::size_t count = std::min(reference.size(), other.size());
  Difference sum;
  for (std::size_t i = 0; i < count; ++i) {
    const double x = reference[i], y = other[i];
    if (!std::isfinite(y)) ++sum.non_finite;
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    const double e = x - y;
    sum.signal += x * x;
    sum.noise += e * e;
    sum.dot += x * y;
    sum.energy += y * y;
    sum.max_error = std::max(sum.max_error, std::abs(e));
    sum.low = sum.elements == 0 ? x : std::min(sum.low, x);
    sum.high = sum.elements == 0 ? x : std::max(sum.high, x);
    ++sum.elements;
  }
  merge(sum);
}

void Difference::merge(const Difference& more) {
  signal += more.signal;
  noise += more.noise;
  dot += more.dot;
  energy += more.energy;
  max_error = std::max(max_error, more.max_error);
  if (more.elements != 0) {
    low = elements == 0 ? more.low : std::min(low, more.low);
    high = elements == 0 ? more.high : std::max(high, more.high);
  }
  elements += more.elements;
  non_finite += more.non_finite;
}

double Difference::sqnr_db() const {
  if (noise == 0) return kLimitDb;
  if (signal == 0) return -kLimitDb;
  return std::clamp(10.0 * std::log10(signal / noise), -kLimitDb, kLimitDb);
}

double Difference::cosine() const {
  if (signal == 0 && energy == 0) return 1;
  if (signal == 0 || energy == 0) return 0;
  return std::clamp(dot / (std::sqrt(signal) * std::sqrt(energy)), -1.0, 1.0);
}

bool add_tensors(Difference& difference, const Tensor& reference, const Tensor& other) {
  if (reference.shape() != other.shape() || !numeric(reference.dtype()) || !numeric(other.dtype())) return false;
  if (reference.dtype() == DType::kF32 && other.dtype() == DType::kF32) {
    difference.add(reference.data<float>(), other.data<float>());
  } else {
    difference.add(reference.to_float(), other.to_float());
  }
  return true;
}

}  // namespace narrow::evaluation
