#include "kernels/gemm_s8/integer_weights.h"

#include <algorithm>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace narrow::kernels {
namespace {

// s32 arithmetic that wraps, as the accumulators do.
std::int32_t wrap_add(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
}
std::int32_t wrap_mul(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) * static_cast<std::uint32_t>(b));
}

// The sum of n codes as they enter the products.
std::uint32_t sum_of(const std::uint8_t* x, std::int64_t n, bool flip) {
  std::uint32_t sum = 0;
  std::int64_t i = 0;
#if defined(__SSE2__)
  const __m128i mask = _mm_set1_epi8(flip ? static_cast<char>(0x80) : 0);
  __m128i sums = _mm_setzero_si128();
  for (; i + 16 <= n; i += 16) {
    const __m128i codes = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)), mask);
    sums = _mm_add_epi64(sums, _mm_sad_epu8(codes, _mm_setzero_si128()));
  }
  sum = static_cast<std::uint32_t>(_mm_cvtsi128_si64(sums) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums)));
#endif
  for (; i < n; ++i) sum += flip ? x[i] ^ 0x80 : x[i];
  return sum;
}

}  // namespace

IntegerWeights::IntegerWeights(const void* b, bool is_unsigned, std::int64_t k, std::int64_t n, std::int64_t row_stride,
                               std::int64_t column_stride, std::span<const std::int32_t> zero_points, std::int64_t runs)
    : packed_(pack_s8(b, is_unsigned, k, n, row_stride, column_stride, runs)), centred_(packed_.column_sums) {
  const std::int32_t shift = is_unsigned ? 128 : 0;
  if (std::all_of(zero_points.begin(), zero_points.end(), [&](std::int32_t z) { return z == shift; }) && !zero_points.empty()) return;
  if (zero_points.empty() && shift == 0) return;
  negative_zero_.assign(static_cast<std::size_t>(packed_.padded_n()), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    negative_zero_[i] = shift - (zero_points.empty() ? 0 : zero_points[zero_points.size() == 1 ? 0 : i]);
    centred_[i] = wrap_add(centred_[i], wrap_mul(negative_zero_[i], static_cast<std::int32_t>(k)));
  }
}

void IntegerWeights::offsets_into(std::int32_t a_zero, bool a_signed, const std::int32_t* bias, std::int32_t* result) const {
  const std::int32_t factor = wrap_mul(a_zero + (a_signed ? 128 : 0), -1);
  const std::int64_t padded = packed_.padded_n();
  if (bias == nullptr) {
    for (std::int64_t j = 0; j < padded; ++j) result[j] = wrap_mul(factor, centred_[j]);
  } else {
    for (std::int64_t j = 0; j < padded; ++j) result[j] = wrap_add(bias[j], wrap_mul(factor, centred_[j]));
  }
}

std::vector<std::int32_t> IntegerWeights::offsets(std::int32_t a_zero, bool a_signed, const std::int32_t* bias) const {
  std::vector<std::int32_t> result(static_cast<std::size_t>(packed_.padded_n())), padded;
  if (bias != nullptr) padded = pad_to_panels<std::int32_t>({bias, static_cast<std::size_t>(packed_.n)}, packed_.n, 0);
  offsets_into(a_zero, a_signed, bias == nullptr ? nullptr : padded.data(), result.data());
  return result;
}

void IntegerWeights::multiply(const LeftS8& a, std::int64_t m, std::int64_t first, std::int64_t last,
                              const std::int32_t* row_shift, const GemmEpilogue& epilogue, void* c, std::int64_t ldc) const {
  const GemmS8 gemm = gemm_s8();
  if (negative_zero_.empty() && row_shift == nullptr) {
    gemm(a, m, packed_, first, last, epilogue, c, ldc);
    return;
  }
  // Zero points of the weights: the sum of a row times what they are, the same for every strip.
  thread_local std::vector<std::int32_t> row_sums;  // kept from call to call
  row_sums.clear();
  GemmEpilogue shifted = epilogue;
  if (!negative_zero_.empty()) {
    for (std::int64_t i = 0; i < m; ++i) {
      std::uint32_t sum = 0;
      for (std::int64_t run = 0; run < packed_.runs; ++run) sum += sum_of(a.row(i) + (a.offsets == nullptr ? 0 : a.offsets[run]), packed_.run_length(), a.flip);
      row_sums.push_back(static_cast<std::int32_t>(sum));
    }
    shifted.row = row_sums.data();
    shifted.column = negative_zero_.data();
  }
  if (row_shift == nullptr) {
    gemm(a, m, packed_, first, last, shifted, c, ldc);
    return;
  }
  // Zero points of the rows go into the offsets of one row at a time.
  const std::int64_t width = epilogue.output == GemmOutput::kS32 || epilogue.output == GemmOutput::kF32 ? 4 : 1;
  const std::int64_t begin = packed_.first_panel(first) * kPanelColumns, end = packed_.first_panel(last) * kPanelColumns;
  std::vector<std::int32_t> offset(static_cast<std::size_t>(packed_.padded_n()));
  shifted.offset = offset.data();
  for (std::int64_t i = 0; i < m; ++i) {
    LeftS8 one = a;
    one.base = a.row(i);
    one.rows = nullptr;
    for (std::int64_t j = begin; j < end; ++j) {
      offset[j] = wrap_add(epilogue.offset[j], wrap_mul(-row_shift[i], centred_[j]));
    }
    if (!negative_zero_.empty()) shifted.row = row_sums.data() + i;
    gemm(one, 1, packed_, first, last, shifted, static_cast<char*>(c) + i * ldc * width, ldc);
  }
}

}  // namespace narrow::kernels
