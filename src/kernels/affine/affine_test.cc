#include "kernels/affine/affine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace narrow::kernels {
namespace {

using base::Isa;

std::vector<Isa> isas() {
  std::vector<Isa> found;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= base::detected_isa()) found.push_back(isa);
  }
  return found;
}

// Half steps, extremes and everything between, so that rounding and saturation both show.
std::vector<float> interesting(std::size_t n, float scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 60 * scale);
  std::vector<float> x(n);
  for (float& v : x) {
    switch (random() % 8) {
      case 0: v = (static_cast<float>(static_cast<int>(random() % 600) - 300) + 0.5f) * scale; break;
      case 1: v = random() % 2 ? 1e30f : -1e30f; break;
      case 2: v = random() % 2 ? INFINITY : -INFINITY; break;
      default: v = normal(random);
    }
  }
  if (n > 3) x[n / 2] = NAN;
  return x;
}

TEST(Affine, QuantizesAsOnnxSays) {
  for (Isa isa : isas()) {
    const AffineKernels& k = affine_kernels(isa);
    const std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 300, -300, NAN, INFINITY, -INFINITY,
                                  0, 1, 2, 3, 4, 5, 6, 7};
    std::vector<std::uint8_t> u(x.size());
    std::vector<std::int8_t> s(x.size());
    k.quantize_u8(x.data(), x.size(), 1.0f, 10, u.data());
    k.quantize_s8(x.data(), x.size(), 1.0f, -3, s.data());
    EXPECT_EQ((std::vector<std::uint8_t>(u.begin(), u.begin() + 10)),
              (std::vector<std::uint8_t>{10, 12, 12, 10, 8, 255, 0, 10, 255, 0}));
    EXPECT_EQ((std::vector<std::int8_t>(s.begin(), s.begin() + 10)),
              (std::vector<std::int8_t>{-3, -1, -1, -3, -5, 127, -128, -3, 127, -128}));
    EXPECT_EQ(s[17], 4);
  }
}

TEST(Affine, EveryInstructionSetGivesTheSameBits) {
  for (std::size_t n : {0u, 1u, 7u, 15u, 16u, 17u, 31u, 64u, 1000u}) {
    for (float scale : {0.01f, 0.37f, 1e-30f, 5e10f}) {
      const std::vector<float> x = interesting(n, scale, static_cast<unsigned>(n));
      for (int zero : {0, 1, 128, 255}) {
        std::vector<std::uint8_t> want(n), got(n);
        std::vector<std::int8_t> want_s(n), got_s(n);
        std::vector<float> back(n), back_want(n);
        kAffineReference.quantize_u8(x.data(), n, scale, zero, want.data());
        kAffineReference.quantize_s8(x.data(), n, scale, zero - 128, want_s.data());
        for (Isa isa : isas()) {
          const AffineKernels& k = affine_kernels(isa);
          k.quantize_u8(x.data(), n, scale, zero, got.data());
          k.quantize_s8(x.data(), n, scale, zero - 128, got_s.data());
          EXPECT_EQ(got, want) << base::to_string(isa);
          EXPECT_EQ(got_s, want_s) << base::to_string(isa);
          kAffineReference.dequantize_u8(want.data(), n, scale, zero, back_want.data());
          k.dequantize_u8(want.data(), n, scale, zero, back.data());
          EXPECT_EQ(back, back_want);
          kAffineReference.dequantize_s8(want_s.data(), n, scale, zero - 128, back_want.data());
          k.dequantize_s8(want_s.data(), n, scale, zero - 128, back.data());
          EXPECT_EQ(back, back_want);
        }
      }
    }
  }
}

TEST(Affine, MinMaxSkipsNaN) {
  for (Isa isa : isas()) {
    for (std::size_t n : {0u, 1u, 5u, 16u, 100u}) {
      std::vector<float> x(n, 2.0f);
      if (n > 2) { x[0] = NAN; x[n - 1] = -3; x[n - 2] = NAN; }
      if (n > 10) x[9] = 8;
      float min, max;
      affine_kernels(isa).min_max(x.data(), n, &min, &max);
      EXPECT_EQ(min, n == 0 ? 0 : n > 2 ? -3 : 2) << n << base::to_string(isa);
      EXPECT_EQ(max, n == 0 ? 0 : n > 10 ? 8 : 2) << n << base::to_string(isa);
    }
    const std::vector<float> nothing(20, NAN);
    float min, max;
    affine_kernels(isa).min_max(nothing.data(), 20, &min, &max);
    EXPECT_EQ(min, 0);
    EXPECT_EQ(max, 0);
  }
}

TEST(Affine, ErrorIsThatOfTheDequantizedCodes) {
  const float scale = 0.037f;
  for (const std::size_t n : {0u, 1u, 7u, 16u, 33u, 128u}) {
    const std::vector<float> x = interesting(n, scale, 5);
    std::vector<std::uint8_t> q(n);
    kAffineReference.quantize_u8(x.data(), n, scale, 9, q.data());
    double error = 0, size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double back = (static_cast<int>(q[i]) - 9) * static_cast<double>(scale);
      error += (x[i] - back) * (x[i] - back);
      size += static_cast<double>(x[i]) * x[i];
    }
    if (!std::isfinite(size)) continue;
    for (const Isa isa : isas()) {
      float found = -1, found_size = -1;
      affine_kernels(isa).error_u8(x.data(), q.data(), n, scale, 9, &found, &found_size);
      EXPECT_NEAR(found, error, 1e-5 * error + 1e-12) << n;
      EXPECT_NEAR(found_size, size, 1e-5 * size + 1e-12) << n;
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
