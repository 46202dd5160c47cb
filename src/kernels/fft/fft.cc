#include "kernels/fft/fft.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace narrow::kernels {
namespace {

// Beyond this prime a butterfly, whose cost grows with the square of its radix, loses to Bluestein.
constexpr int kLargestRadix = 31;

// std::complex would check every product for infinities.
Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
Complex operator*(Complex a, double s) { return {a.re * s, a.im * s}; }
Complex conjugate(Complex a) { return {a.re, -a.im}; }
Complex times_minus_i(Complex a) { return {a.im, -a.re}; }

Complex root(std::int64_t k, std::int64_t n) {
  const double angle = -2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

std::vector<int> small_factors(std::int64_t n) {
  std::vector<int> factors;
  for (int p : {4, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, kLargestRadix}) {
    for (; n % p == 0; n /= p) factors.push_back(p);
  }
  if (n != 1) factors.clear();
  return factors;
}

// One stage of Stockham's algorithm: x is [p, m, stride], y [m, p, stride]; `turn(t)` is the root of the stage's order.
template <typename Turn>
void radix_2(const Complex* x, Complex* y, std::int64_t m, std::int64_t stride, const Turn& turn) {
  for (std::int64_t j = 0; j < m; ++j) {
    const Complex w = turn(j);
    const Complex* in = x + stride * j;
    Complex* out = y + stride * 2 * j;
    for (std::int64_t q = 0; q < stride; ++q) {
      const Complex a = in[q], b = in[q + stride * m];
      out[q] = a + b;
      out[q + stride] = (a - b) * w;
    }
  }
}

template <typename Turn>
void radix_4(const Complex* x, Complex* y, std::int64_t m, std::int64_t stride, const Turn& turn) {
  for (std::int64_t j = 0; j < m; ++j) {
    const Complex w1 = turn(j), w2 = turn(2 * j), w3 = turn(3 * j);
    const Complex* in = x + stride * j;
    Complex* out = y + stride * 4 * j;
    for (std::int64_t q = 0; q < stride; ++q) {
      const Complex a = in[q], b = in[q + stride * m], c = in[q + stride * 2 * m], d = in[q + stride * 3 * m];
      const Complex sum = a + c, difference = a - c, other = b + d, turned = times_minus_i(b - d);
      out[q] = sum + other;
      out[q + stride] = (difference + turned) * w1;
      out[q + stride * 2] = (sum - other) * w2;
      out[q + stride * 3] = (difference - turned) * w3;
    }
  }
}

template <typename Turn>
void radix_any(int p, const Complex* x, Complex* y, std::int64_t m, std::int64_t stride, const Turn& turn) {
  Complex roots[kLargestRadix], terms[kLargestRadix];
  for (int k = 0; k < p; ++k) roots[k] = root(k, p);
  for (std::int64_t j = 0; j < m; ++j) {
    for (std::int64_t q = 0; q < stride; ++q) {
      for (int r = 0; r < p; ++r) terms[r] = x[q + stride * (j + m * r)];
      for (int k = 0; k < p; ++k) {
        Complex sum = terms[0];
        for (int r = 1, at = k; r < p; ++r) {
          sum = sum + terms[r] * roots[at];
          at = at + k < p ? at + k : at + k - p;
        }
        y[q + stride * (p * j + k)] = sum * turn(j * k);
      }
    }
  }
}

}  // namespace

Fft::Fft(std::int64_t length) : length_(length), factors_(small_factors(length)) {
  if (length_ == 1) return;
  if (!factors_.empty()) {
    roots_.resize(static_cast<std::size_t>(length_));
    for (std::int64_t k = 0; k < length_; ++k) roots_[k] = root(k, length_);
    return;
  }
  padded_ = std::make_unique<Fft>(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(2 * length_ - 1))));
  chirp_.resize(static_cast<std::size_t>(length_));
  filter_.resize(static_cast<std::size_t>(padded_->length()));
  for (std::int64_t n = 0; n < length_; ++n) {
    chirp_[n] = root(n * n % (2 * length_), 2 * length_);  // reduced first: a large angle would lose its last digits
    filter_[n] = conjugate(chirp_[n]);
    if (n != 0) filter_[padded_->length() - n] = filter_[n];
  }
  std::vector<Complex> scratch(padded_->scratch_size());
  padded_->forward(filter_, scratch);
}

std::size_t Fft::scratch_size() const {
  return static_cast<std::size_t>(padded_ ? padded_->length() * 2 : length_);
}

void Fft::mixed_radix(Complex* x, Complex* scratch) const {
  Complex* from = x;
  Complex* to = scratch;
  std::int64_t remaining = length_, stride = 1;
  for (int p : factors_) {
    const std::int64_t m = remaining / p;
    const auto turn = [&](std::int64_t t) { return roots_[t * stride]; };
    if (p == 2) radix_2(from, to, m, stride, turn);
    else if (p == 4) radix_4(from, to, m, stride, turn);
    else radix_any(p, from, to, m, stride, turn);
    std::swap(from, to);
    remaining = m;
    stride *= p;
  }
  if (from != x) std::copy_n(from, length_, x);
}

// k n = (k^2 + n^2 - (k - n)^2) / 2 makes the transform a convolution with a chirp.
void Fft::bluestein(Complex* x, Complex* scratch) const {
  const std::int64_t size = padded_->length();
  const std::span<Complex> line(scratch, static_cast<std::size_t>(size)), rest(scratch + size, static_cast<std::size_t>(size));
  for (std::int64_t n = 0; n < length_; ++n) line[n] = x[n] * chirp_[n];
  std::fill(line.begin() + length_, line.end(), Complex{});
  padded_->forward(line, rest);
  for (std::int64_t k = 0; k < size; ++k) line[k] = line[k] * filter_[k];
  padded_->inverse(line, rest);
  for (std::int64_t k = 0; k < length_; ++k) x[k] = line[k] * chirp_[k];
}

void Fft::forward(std::span<Complex> x, std::span<Complex> scratch) const {
  if (padded_) bluestein(x.data(), scratch.data());
  else mixed_radix(x.data(), scratch.data());
}

void Fft::inverse(std::span<Complex> x, std::span<Complex> scratch) const {
  for (Complex& v : x) v = conjugate(v);
  forward(x, scratch);
  const double scale = 1.0 / static_cast<double>(length_);
  for (Complex& v : x) v = conjugate(v) * scale;
}

}  // namespace narrow::kernels
