#include "encodings/input_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace narrow::encodings {
namespace {

using Kind = InputRounding::Kind;

TEST(InputRounding, EachTokenByItsOwnLargest) {
  const std::vector<float> x = {1.0f, -0.5f, 0.003f, 100.0f, -255.0f, 1.0f, 0, 0, 0};
  std::vector<float> out(x.size());
  round_inputs({.kind = Kind::kToken}, x.data(), 3, 3, out.data());
  // 127.5 would be the code of the largest: it saturates at 127, and -127.5 goes to the even -128.
  const float first = 1.0f / 127.5f, second = 255.0f / 127.5f;
  EXPECT_FLOAT_EQ(out[0], 127 * first);
  EXPECT_FLOAT_EQ(out[1], -64 * first);
  EXPECT_FLOAT_EQ(out[2], 0);
  EXPECT_FLOAT_EQ(out[3], 50 * second);
  EXPECT_FLOAT_EQ(out[4], -128 * second);
  EXPECT_FLOAT_EQ(out[5], 0);  // 0.5 is halfway: to the even 0
  for (std::size_t i = 6; i < 9; ++i) EXPECT_EQ(out[i], 0);
}

TEST(InputRounding, OneScaleForAllSaturatesAndShifts) {
  std::vector<float> x = {0.26f, -7.0f, 70.0f, -70.0f};
  std::vector<float> out(x.size());
  round_inputs({.kind = Kind::kTensor, .scale = 0.5f}, x.data(), 2, 2, out.data());
  EXPECT_EQ(out, (std::vector<float>{0.5f, -7.0f, 63.5f, -64.0f}));
  round_inputs({.kind = Kind::kTensor, .scale = 0.5f, .zero = 28}, x.data(), 2, 2, x.data());  // in place
  EXPECT_EQ(x, (std::vector<float>{0.5f, -7.0f, 49.5f, -70.0f}));
}

TEST(InputRounding, ANanIsNotHidden) {
  std::vector<float> x = {1.0f, std::numeric_limits<float>::quiet_NaN()};
  round_inputs({.kind = Kind::kTensor, .scale = 0.5f}, x.data(), 1, 2, x.data());
  EXPECT_TRUE(std::isnan(x[1]));
}

}  // namespace
}  // namespace narrow::encodings
