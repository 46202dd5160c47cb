// Arithmetic on sizes that come from files: every product and sum is checked before anything is allocated.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>

namespace narrow::base {

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// Product of the dimensions, or nullopt when one is negative or the product overflows. An empty span gives 1.
inline std::optional<std::int64_t> checked_product(std::span<const std::int64_t> dims) {
  std::int64_t product = 1;
  bool zero = false, overflow = false;
  for (std::int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    zero = zero || dim == 0;
    overflow = overflow || __builtin_mul_overflow(product, dim == 0 ? 1 : dim, &product);
  }
  if (zero) return 0;
  if (overflow) return std::nullopt;
  return product;
}

template <std::integral T>
constexpr T ceil_div(T a, T b) { return (a + b - 1) / b; }

template <std::integral T>
constexpr T round_up(T a, T multiple) { return ceil_div(a, multiple) * multiple; }

}  // namespace narrow::base
