// Discrete Fourier transform of any length in O(n log n): mixed radix where the length has small prime factors only,
// Bluestein's chirp transform otherwise. Computed in double, so that results are exact to f32 and good in f64.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace narrow::kernels {

struct Complex {
  double re = 0, im = 0;
};

class Fft {
 public:
  // Precondition: 1 <= length <= kMaxLength.
  static constexpr std::int64_t kMaxLength = std::int64_t{1} << 25;
  explicit Fft(std::int64_t length);

  std::int64_t length() const { return length_; }
  std::size_t scratch_size() const;  // elements that forward() and inverse() need beside the data

  // In place: X[k] = sum_n x[n] e^(-2 pi i k n / length). Spans as long as length() and scratch_size().
  void forward(std::span<Complex> x, std::span<Complex> scratch) const;
  // x[n] = 1 / length * sum_k X[k] e^(2 pi i k n / length).
  void inverse(std::span<Complex> x, std::span<Complex> scratch) const;

 private:
  void mixed_radix(Complex* x, Complex* scratch) const;
  void bluestein(Complex* x, Complex* scratch) const;

  std::int64_t length_;
  std::vector<int> factors_;       // of length_; empty for Bluestein
  std::vector<Complex> roots_;     // e^(-2 pi i k / length)
  std::unique_ptr<Fft> padded_;    // Bluestein: of a power of two, at least 2 * length - 1
  std::vector<Complex> chirp_;     // e^(-pi i n^2 / length)
  std::vector<Complex> filter_;    // transform of the conjugate chirp, over padded_'s length
};

}  // namespace narrow::kernels
