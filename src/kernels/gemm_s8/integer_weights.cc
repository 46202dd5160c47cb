#include "kernels/gemm_s8/integer_weights.h"

#include <algorithm>

namespace narrow::kernels {
namespace {

// s32 arithmetic that wraps, as the accumulators do.
std::int32_t wrap_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}
std::int32_t wrap_mul(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b));
}

}  // namespace

IntegerWeights::IntegerWeights(const void* b, bool is_unsigned, std::int64_t k, std::int64_t n, std::int64_t row_stride,
                               std::int64_t column_stride, std::span<const std::int32_t> zero_points, std::int64_t runs)
    : packed_(pack_s8(b, is_unsigned, k, n, row_stride, column_stride, runs)) {
  const std::int32_t shift = is_unsigned ? 128 : 0;
  if (std::all_of(zero_points.begin(), zero_points.end(), [&](std::int32_t z) { return z == shift; }) && !zero_points.empty()) return;
  if (zero_points.empty() && shift == 0) return;
  zero_.assign(static_cast<std::size_t>(packed_.padded_n()), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    zero_[i] = (zero_points.empty() ? 0 : zero_points[zero_points.size() == 1 ? 0 : i]) - shift;
  }
}

std::vector<std::int32_t> IntegerWeights::offsets(std::int32_t a_zero, bool a_signed, const std::int32_t* bias) const {
  const std::int32_t zero = a_zero + (a_signed ? 128 : 0);
  std::vector<std::int32_t> result(static_cast<std::size_t>(packed_.padded_n()), 0);
  for (std::int64_t j = 0; j < packed_.n; ++j) {
    std::int32_t centred = packed_.column_sums[j];
    if (!zero_.empty()) centred = wrap_add(centred, wrap_mul(-zero_[j], static_cast<std::int32_t>(packed_.k)));
    result[j] = wrap_add(bias == nullptr ? 0 : bias[j], wrap_mul(-zero, centred));
  }
  return result;
}

void IntegerWeights::multiply(const LeftS8& a, std::int64_t m, std::int64_t first, std::int64_t last,
                              const std::int32_t* row_shift, const GemmEpilogue& epilogue, void* c, std::int64_t ldc) const {
  const GemmS8 gemm = gemm_s8();
  if (zero_.empty() && row_shift == nullptr) {
    gemm(a, m, packed_, first, last, epilogue, c, ldc);
    return;
  }
  // What depends on row and column together goes into the offsets of one row at a time.
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t begin = packed_.first_panel(first) * kPanelColumns, end = packed_.first_panel(last) * kPanelColumns;
  std::vector<std::int32_t> offset(static_cast<std::size_t>(packed_.padded_n()));
  GemmEpilogue shifted = epilogue;
  shifted.offset = offset.data();
  for (std::int64_t i = 0; i < m; ++i) {
    LeftS8 one = a;
    one.base = a.row(i);
    one.rows = nullptr;
    std::int32_t row_sum = 0;
    for (std::int64_t run = 0; !zero_.empty() && run < packed_.runs; ++run) {
      const std::uint8_t* from = one.base + (a.offsets == nullptr ? 0 : a.offsets[run]);
      for (std::int64_t k = 0; k < packed_.run_length(); ++k) row_sum += a.flip ? from[k] ^ 0x80 : from[k];
    }
    const std::int32_t shift = row_shift == nullptr ? 0 : row_shift[i];
    for (std::int64_t j = begin; j < end; ++j) {
      std::int32_t value = epilogue.offset[j];
      std::int32_t centred = packed_.column_sums[j];
      if (!zero_.empty()) {
        value = wrap_add(value, wrap_mul(-zero_[j], row_sum));
        centred = wrap_add(centred, wrap_mul(-zero_[j], static_cast<std::int32_t>(packed_.k)));
      }
      offset[j] = wrap_add(value, wrap_mul(-shift, centred));
    }
    gemm(one, 1, packed_, first, last, shifted, static_cast<char*>(c) + i * ldc * width, ldc);
  }
}

}  // namespace narrow::kernels
