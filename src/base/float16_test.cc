#include "base/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace narrow::base {
namespace {

TEST(Float16, EveryBitPatternRoundTrips) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const Float16 h{static_cast<std::uint16_t>(bits)};
    const float f = to_float(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(to_float(to_float16(f))));
    } else {
      ASSERT_EQ(to_float16(f).bits, bits);
    }
  }
}

#if defined(__FLT16_MAX__)
TEST(Float16, RoundsAsTheCompilerDoes) {
  std::uint32_t state = 1;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float f = std::bit_cast<float>(state);
    if (std::isnan(f)) continue;
    const auto expected = std::bit_cast<std::uint16_t>(static_cast<_Float16>(f));
    ASSERT_EQ(to_float16(f).bits, expected) << f;
  }
}
#endif

TEST(BFloat16, RoundsHalfToEven) {
  EXPECT_EQ(to_bfloat16(1.0f).bits, 0x3F80);
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x3F808000u)).bits, 0x3F80);   // tie to even
  EXPECT_EQ(to_bfloat16(std::bit_cast<float>(0x3F818000u)).bits, 0x3F82);
  EXPECT_EQ(to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7F80);   // overflows to infinity
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace narrow::base
