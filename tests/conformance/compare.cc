#include "conformance/compare.h"

#include <fmt/format.h>

#include <cmath>

namespace narrow::conformance {
namespace {

double relative_tolerance(DType dtype) {
  switch (dtype) {
    case DType::kF32: case DType::kF64: case DType::kC64: case DType::kC128: return 1e-3;
    case DType::kF16: return 0x1p-9;
    case DType::kBF16: return 0x1p-6;
    default: return 0;
  }
}

bool agree(double expected, double found, double relative) {
  if (std::isnan(expected) || std::isnan(found)) return std::isnan(expected) && std::isnan(found);
  if (expected == found) return true;
  if (relative == 0 || std::isinf(expected) || std::isinf(found)) return false;
  return std::abs(found - expected) <= 1e-7 + relative * std::abs(expected);
}

// The first element that differs, as text; empty when none does.
template <typename At>
std::string first_difference(std::int64_t count, double relative, const At& at) {
  std::int64_t differing = 0;
  std::string first;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto [expected, found] = at(i);
    if (agree(expected, found, relative)) continue;
    if (differing++ == 0) first = fmt::format("element {} is {:.9g}, expected {:.9g}", i, found, expected);
  }
  return differing == 0 ? "" : fmt::format("{} ({} of {} differ)", first, differing, count);
}

template <typename T>
std::string complex_difference(const Tensor& expected, const Tensor& found) {
  const auto* a = static_cast<const T*>(expected.raw());
  const auto* b = static_cast<const T*>(found.raw());
  return first_difference(2 * expected.size(), relative_tolerance(expected.dtype()), [&](std::int64_t i) { return std::pair<double, double>(a[i], b[i]); });
}

}  // namespace

std::string difference(const Tensor& expected, const Tensor& found) {
  if (!found.defined()) return "it is missing";
  if (expected.dtype() != found.dtype() || expected.shape() != found.shape()) {
    return fmt::format("it is {}{}, expected {}{}", to_string(found.dtype()), to_string(found.shape()), to_string(expected.dtype()),
                       to_string(expected.shape()));
  }
  if (expected.dtype() == DType::kString) {
    for (std::size_t i = 0; i < expected.strings().size(); ++i) {
      if (expected.strings()[i] != found.strings()[i]) return fmt::format("element {} is '{}', expected '{}'", i, found.strings()[i], expected.strings()[i]);
    }
    return {};
  }
  if (expected.dtype() == DType::kC64) return complex_difference<float>(expected, found);
  if (expected.dtype() == DType::kC128) return complex_difference<double>(expected, found);
  if (expected.dtype() == DType::kS64 || expected.dtype() == DType::kU64) {  // more digits than a double has
    const auto a = expected.to_int64(), b = found.to_int64();
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] != b[i]) return fmt::format("element {} is {}, expected {}", i, b[i], a[i]);
    }
    return {};
  }
  return first_difference(expected.size(), relative_tolerance(expected.dtype()), [&](std::int64_t i) {
    return std::pair(expected.at_as_double(i), found.at_as_double(i));
  });
}

std::string difference(const RuntimeValue& expected, const RuntimeValue& found) {
  if (expected.is_tensor() && found.is_tensor()) return difference(expected.tensor(), found.tensor());
  const bool alike = expected.kind() == found.kind() && expected.dtype() == found.dtype();
  if (!alike || (expected.is_sequence() && expected.sequence().size() != found.sequence().size())) {
    return fmt::format("it is {}, expected {}", to_string(found), to_string(expected));
  }
  for (std::size_t i = 0; expected.is_sequence() && i < expected.sequence().size(); ++i) {
    const std::string what = difference(expected.sequence()[i], found.sequence()[i]);
    if (!what.empty()) return fmt::format("tensor {}: {}", i, what);
  }
  return {};
}

}  // namespace narrow::conformance
