#include <algorithm>

#include "kernels/codes/codes.h"

namespace narrow::kernels {
namespace {

void look_up(const std::uint8_t* in, std::size_t n, const std::uint8_t* table, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

void maximum(const std::uint8_t* const* rows, std::size_t count, std::size_t n, bool is_signed, std::uint8_t* out) {
  const std::uint8_t flip = is_signed ? 0x80 : 0;  // s8 in the order of u8
  for (std::size_t i = 0; i < n; ++i) {
    std::uint8_t largest = 0;
    for (std::size_t r = 0; r < count; ++r) largest = std::max(largest, static_cast<std::uint8_t>(rows[r][i] ^ flip));
    out[i] = largest ^ flip;
  }
}

void interleave3(const std::uint8_t* const* planes, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t p = 0; p < 3; ++p) out[3 * i + p] = planes[p][i];
  }
}

void add(const std::uint8_t* in, std::size_t n, bool is_signed, std::int32_t* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] += is_signed ? static_cast<std::int8_t>(in[i]) : in[i];
}

}  // namespace

const CodeKernels kCodesReference = {look_up, maximum, interleave3, nullptr, add};

}  // namespace narrow::kernels
