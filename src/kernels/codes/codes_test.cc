#include "kernels/codes/codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace narrow::kernels {
namespace {

using base::Isa;

class Codes : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > base::detected_isa()) GTEST_SKIP() << "this processor has no " << base::to_string(GetParam());
  }
  std::vector<std::uint8_t> bytes(std::size_t n) {
    std::vector<std::uint8_t> made(n);
    for (auto& v : made) v = static_cast<std::uint8_t>(random_());
    return made;
  }
  std::mt19937 random_{3};
};

TEST_P(Codes, LooksUp) {
  const std::vector<std::uint8_t> table = bytes(256);
  for (std::size_t n : {0, 1, 15, 63, 64, 65, 300}) {
    std::vector<std::uint8_t> in = bytes(n), out(n + 1, 7);
    if (n >= 300) for (std::size_t i = 0; i < 256; ++i) in[i] = static_cast<std::uint8_t>(i);
    code_kernels(GetParam()).look_up(in.data(), n, table.data(), out.data());
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], table[in[i]]) << i;
    EXPECT_EQ(out[n], 7) << "wrote past the end";
    code_kernels(GetParam()).look_up(in.data(), n, table.data(), in.data());
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(in[i], out[i]) << "in place, " << i;
  }
}

TEST_P(Codes, TakesTheLargestInterleavesAndAdds) {
  for (std::size_t n : {1, 7, 8, 16, 31, 64, 130}) {
    for (bool is_signed : {false, true}) {
      const std::vector<std::uint8_t> a = bytes(n), b = bytes(n), c = bytes(n);
      const auto value = [&](std::uint8_t x) { return is_signed ? static_cast<std::int8_t>(x) : static_cast<int>(x); };
      for (std::size_t count : {1, 2, 3}) {
        const std::uint8_t* rows[] = {a.data(), b.data(), c.data()};
        std::vector<std::uint8_t> out(n + 1, 7);
        code_kernels(GetParam()).maximum(rows, count, n, is_signed, out.data());
        for (std::size_t i = 0; i < n; ++i) {
          int want = value(a[i]);
          for (std::size_t r = 1; r < count; ++r) want = std::max(want, value(rows[r][i]));
          ASSERT_EQ(value(out[i]), want) << n << " codes of " << count << " rows, " << i;
        }
        EXPECT_EQ(out[n], 7) << "wrote past the end";
      }
      const std::uint8_t* planes[] = {a.data(), b.data(), c.data()};
      std::vector<std::uint8_t> pixels(3 * n + 1, 7);
      code_kernels(GetParam()).interleave3(planes, n, pixels.data());
      for (std::size_t i = 0; i < 3 * n; ++i) ASSERT_EQ(pixels[i], planes[i % 3][i / 3]);
      EXPECT_EQ(pixels[3 * n], 7) << "wrote past the end";
      std::vector<std::int32_t> sums(n + 1, 1000);
      code_kernels(GetParam()).add(a.data(), n, is_signed, sums.data());
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(sums[i], 1000 + value(a[i]));
      EXPECT_EQ(sums[n], 1000) << "wrote past the end";
    }
  }
}

TEST_P(Codes, SumsAsFloatArithmeticDoes) {
  const auto sum = code_kernels(GetParam()).sum;
  if (sum == nullptr) GTEST_SKIP() << "the general way is taken";
  const float inf = std::numeric_limits<float>::infinity();
  for (std::size_t n : {1, 16, 63, 64, 200, 5000}) {
    for (int kind = 0; kind < 8; ++kind) {
      const std::vector<std::uint8_t> a = bytes(n), b = bytes(n);
      const SumOperand x = {a.data(), kind % 2 == 1, 0.0173f, kind % 2 == 1 ? -3 : 121}, z = {b.data(), kind / 2 % 2 == 1, 0.0311f, kind / 2 % 2 == 1 ? 7 : 90};
      const SumResult y = {kind / 4 == 1, 0.0271f, kind / 4 == 1 ? -10 : 77, kind % 3 == 0 ? 0.0f : -inf, kind % 3 == 1 ? 2.5f : inf};
      std::vector<std::uint8_t> out(n + 1, 7);
      sum(x, z, n, y, out.data());
      const auto real = [](const SumOperand& o, std::size_t i) {
        const volatile float product = static_cast<float>((o.is_signed ? static_cast<std::int8_t>(o.codes[i]) : o.codes[i]) - o.zero_point) * o.scale;
        return product;
      };
      for (std::size_t i = 0; i < n; ++i) {
        const float total = std::min(std::max(real(x, i) + real(z, i), y.low), y.high);
        const float want = std::clamp<float>(std::nearbyint(total / y.scale) + static_cast<float>(y.zero_point), y.is_signed ? -128 : 0, y.is_signed ? 127 : 255);
        ASSERT_EQ(y.is_signed ? static_cast<std::int8_t>(out[i]) : out[i], want) << i;
      }
      EXPECT_EQ(out[n], 7) << "wrote past the end";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, Codes, testing::Values(Isa::kScalar, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return std::string(base::to_string(info.param)); });

}  // namespace
}  // namespace narrow::kernels
