// Weights of an integer product with their zero points, and the product with every zero point taken out:
// sum over k of (a - a_zero) * (b - b_zero), exact.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {

class IntegerWeights {
 public:
  // Element (k, n) is b[k * row_stride + n * column_stride]. `zero_points` holds 1 or n values, in b's own type.
  IntegerWeights(const void* b, bool is_unsigned, std::int64_t k, std::int64_t n, std::int64_t row_stride,
                 std::int64_t column_stride, std::span<const std::int32_t> zero_points, std::int64_t runs = 1);

  const PackedS8& packed() const { return packed_; }
  std::int64_t k() const { return packed_.k; }
  std::int64_t n() const { return packed_.n; }

  // The epilogue's offsets for activations of one zero point (`a_zero` in their own type), `bias` null or n values.
  std::vector<std::int32_t> offsets(std::int32_t a_zero, bool a_signed, const std::int32_t* bias) const;
  // The same into packed().padded_n() numbers of the caller's; `bias` is null or padded too.
  void offsets_into(std::int32_t a_zero, bool a_signed, const std::int32_t* bias, std::int32_t* result) const;

  // Rows of `a` (flip: they are signed) against the strips [first, last). `epilogue.offset` comes from offsets().
  // `row_shift`, null or one a row: how much the row's zero point exceeds the one that offsets() was given.
  void multiply(const LeftS8& a, std::int64_t m, std::int64_t first, std::int64_t last, const std::int32_t* row_shift,
                const GemmEpilogue& epilogue, void* c, std::int64_t ldc) const;

 private:
  PackedS8 packed_;
  // Per column of the packed values, padded: the zero point, negated (empty when all are 0), and the sum of what is left
  // when it is taken out.
  std::vector<std::int32_t> negative_zero_, centred_;
};

// `values` copied and padded with `fill` to whole panels; one value is repeated n times.
template <typename T>
std::vector<T> pad_to_panels(std::span<const T> values, std::int64_t n, T fill) {
  std::vector<T> padded(static_cast<std::size_t>((n + kPanelColumns - 1) / kPanelColumns * kPanelColumns), fill);
  for (std::int64_t i = 0; i < n; ++i) padded[i] = values[values.size() == 1 ? 0 : i];
  return padded;
}

}  // namespace narrow::kernels
