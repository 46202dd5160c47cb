// Against the definition, over lengths of every kind: powers of two, products of small primes, primes small and large.
#include "kernels/fft/fft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace narrow::kernels {
namespace {

std::vector<Complex> by_definition(const std::vector<Complex>& x) {
  const std::int64_t n = static_cast<std::int64_t>(x.size());
  std::vector<Complex> y(x.size());
  for (std::int64_t k = 0; k < n; ++k) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(k * i % n) / static_cast<double>(n);
      y[k].re += x[i].re * std::cos(angle) - x[i].im * std::sin(angle);
      y[k].im += x[i].re * std::sin(angle) + x[i].im * std::cos(angle);
    }
  }
  return y;
}

std::vector<Complex> random_signal(std::int64_t n) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::normal_distribution<double> draw;
  std::vector<Complex> x(static_cast<std::size_t>(n));
  for (Complex& v : x) v = {draw(random), draw(random)};
  return x;
}

double distance(const std::vector<Complex>& a, const std::vector<Complex>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::hypot(a[i].re - b[i].re, a[i].im - b[i].im));
  return most;
}

TEST(Fft, EqualsTheDefinition) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t n = 1; n <= 70; ++n) lengths.push_back(n);
  for (std::int64_t n : {97, 128, 211, 240, 331, 400, 512, 31 * 31, 2 * 37, 961, 1000, 1009, 37 * 41}) lengths.push_back(n);
  for (std::int64_t n : lengths) {
    const Fft fft(n);
    const std::vector<Complex> x = random_signal(n);
    std::vector<Complex> y = x, scratch(fft.scratch_size());
    fft.forward(y, scratch);
    EXPECT_LT(distance(y, by_definition(x)), 1e-10 * std::sqrt(static_cast<double>(n)) * 10) << n;
    fft.inverse(y, scratch);
    EXPECT_LT(distance(y, x), 1e-12) << n;
  }
}

// A tone of a long prime length is one line of the spectrum: also far from where O(n^2) could be compared with.
TEST(Fft, FindsOneToneInALongPrimeLength) {
  constexpr std::int64_t kLength = 100'003, kTone = 12'345;
  std::vector<Complex> x(kLength);
  for (std::int64_t i = 0; i < kLength; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i * kTone % kLength) / kLength;
    x[i] = {std::cos(angle), std::sin(angle)};
  }
  const Fft fft(kLength);
  std::vector<Complex> scratch(fft.scratch_size());
  fft.forward(x, scratch);
  for (std::int64_t k = 0; k < kLength; ++k) {
    EXPECT_NEAR(x[k].re, k == kTone ? kLength : 0, 1e-6);
    EXPECT_NEAR(x[k].im, 0, 1e-6);
  }
}

}  // namespace
}  // namespace narrow::kernels
