// Transforms against their definition, over shapes, axes, lengths and both kinds of signal; windows against closed forms.
#include <numbers>

#include "kernels/fft/fft.h"
#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

Tensor waves(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  return fill(dtype, shape, [&](std::int64_t) { return static_cast<double>(static_cast<int>(random() % 200) - 100) / 100; });
}

struct Number { double re, im; };

// Number `n` on `axis` of the line that `at` lies on; zero beyond the signal.
Number sample(const Tensor& x, std::vector<std::int64_t> at, int axis, std::int64_t n) {
  if (n >= x.shape()[axis]) return {0, 0};
  at[axis] = n;
  at.back() = 0;
  const std::int64_t i = ravel(at, x.shape());
  return {x.at_as_double(i), x.shape().back() == 2 ? x.at_as_double(i + 1) : 0.0};
}

// Component `at.back()` of the transform at index `at`.
double dft_at(const Tensor& x, const std::vector<std::int64_t>& at, int axis, std::int64_t length, bool inverse) {
  double sum = 0;
  for (std::int64_t n = 0; n < length; ++n) {
    const Number v = sample(x, at, axis, n);
    const double angle = (inverse ? 2 : -2) * std::numbers::pi * static_cast<double>(n * at[axis] % length) / static_cast<double>(length);
    sum += at.back() == 0 ? v.re * std::cos(angle) - v.im * std::sin(angle) : v.re * std::sin(angle) + v.im * std::cos(angle);
  }
  return inverse ? sum / static_cast<double>(length) : sum;
}

TEST(Dft, EqualsItsDefinitionOnEveryAxis) {
  for (const Shape& shape : {Shape{6, 1}, Shape{2, 7, 2}, Shape{3, 4, 5, 2}, Shape{1, 37, 1}, Shape{2, 9, 3, 1}}) {
    const int rank = static_cast<int>(shape.size());
    for (int axis = 0; axis + 1 < rank; ++axis) {
      for (const std::int64_t length : {std::int64_t{0}, std::int64_t{4}, shape[axis] + 3}) {
        for (const int inverse : {0, 1}) {
          for (const int onesided : {0, 1 - inverse}) {
            const Tensor x = waves(DType::kF64, shape, 3);
            const Tensor given = length == 0 ? Tensor() : Tensor::scalar<std::int64_t>(length);
            const Tensor y = run1("DFT", {x, given, Tensor::scalar<std::int64_t>(axis - rank)},
                                  {{"inverse", std::int64_t{inverse}}, {"onesided", std::int64_t{onesided}}});
            const std::int64_t n = length == 0 ? shape[axis] : length;
            Shape expected = shape;
            expected[axis] = onesided ? n / 2 + 1 : n;
            expected.back() = 2;
            ASSERT_EQ(y.shape(), expected);
            for (std::int64_t i = 0; i < y.size(); ++i) {
              ASSERT_NEAR(y.at_as_double(i), dft_at(x, unravel(i, expected), axis, n, inverse != 0), 1e-12);
            }
          }
        }
      }
    }
  }
}

TEST(Dft, OneSidedInverseUndoesOneSidedTransform) {
  for (const std::int64_t n : {2, 3, 8, 9, 37, 40}) {
    for (const DType dtype : float_types()) {
      const Tensor x = waves(dtype, {2, n, 1}, 5);
      const Tensor spectrum = run1("DFT", {x}, {{"onesided", std::int64_t{1}}});
      const Tensor length = Tensor::scalar<std::int64_t>(n);
      const Tensor y = run1("DFT", {spectrum, length}, {{"onesided", std::int64_t{1}}, {"inverse", std::int64_t{1}}});
      ASSERT_EQ(y.shape(), x.shape());
      ASSERT_EQ(y.dtype(), dtype);
      const double tolerance = dtype == DType::kF64 ? 1e-12 : dtype == DType::kF32 ? 1e-6 : dtype == DType::kF16 ? 1e-2 : 0.1;
      for (std::int64_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y.at_as_double(i), x.at_as_double(i), tolerance) << n;
      if (n % 2 == 0) {
        const Tensor even = run1("DFT", {spectrum}, {{"onesided", std::int64_t{1}}, {"inverse", std::int64_t{1}}});
        EXPECT_EQ(even.shape(), x.shape());
      }
    }
  }
}

TEST(Dft, RefusesWhatIsNoTransform) {
  const Tensor x = waves(DType::kF32, {2, 4, 1}, 1);
  const auto message = [&](const std::vector<Tensor>& inputs) {
    const auto result = run("DFT", inputs);
    return result.ok() ? "" : result.error().message();
  };
  EXPECT_NE(message({x, Tensor::scalar<std::int64_t>(0)}).find("length 0"), std::string::npos);
  EXPECT_NE(message({x, Tensor::scalar<std::int64_t>(std::int64_t{1} << 40)}).find("expected 1 to"), std::string::npos);
  EXPECT_NE(message({x, Tensor(), Tensor::scalar<std::int64_t>(2)}).find("real and imaginary"), std::string::npos);
  EXPECT_NE(message({x, Tensor(), Tensor::scalar<std::int64_t>(5)}).find("axis 5"), std::string::npos);
  EXPECT_NE(message({waves(DType::kF32, {2, 4, 3}, 1)}).find("expected 1 (real) or 2"), std::string::npos);
}

// Type inference computes small constants, but not what a few numbers blow up.
TEST(Dft, AHugeLengthOfAConstantWaitsForTheRun) {
  const Tensor x = waves(DType::kF32, {64, 8, 1}, 1);
  EXPECT_EQ(inferred("DFT", {f32({64, 8, 1}), s64({})}, {}, {x, Tensor::scalar<std::int64_t>(kernels::Fft::kMaxLength)}), "f32[64,33554432,2]");
}

TEST(Dft, TypeRuleFollowsLengthAndSides) {
  const graph::Type x = f32({sym("N"), 16, 1});
  EXPECT_EQ(inferred("DFT", {x}), "f32[N,16,2]");
  EXPECT_EQ(inferred("DFT", {x}, {{"onesided", std::int64_t{1}}}), "f32[N,9,2]");
  EXPECT_EQ(inferred("DFT", {x, s64({})}, {}, {Tensor(), Tensor::scalar<std::int64_t>(10)}), "f32[N,10,2]");
  EXPECT_EQ(inferred("DFT", {x, s64({})}), "f32[N,?,2]");
  EXPECT_EQ(inferred("DFT", {f32({sym("N"), 9, 2})}, {{"onesided", std::int64_t{1}}, {"inverse", std::int64_t{1}}}), "f32[N,16,1]");
  EXPECT_NE(inferred("DFT", {f32({4, 3})}).find("error"), std::string::npos);
}

TEST(Stft, EqualsTransformsOfWindowedFrames) {
  for (const std::int64_t components : {1, 2}) {
    for (const std::int64_t step : {1, 3, 8}) {
      for (const int onesided : {0, 1}) {
        for (const bool windowed : {false, true}) {
          const std::int64_t frame = 8, samples = 21;
          const Tensor x = waves(DType::kF64, {2, samples, components}, 7), window = waves(DType::kF64, {frame}, 8);
          const Tensor y = run1("STFT", {x, Tensor::scalar<std::int64_t>(step), windowed ? window : Tensor(), Tensor::scalar<std::int64_t>(frame)},
                                {{"onesided", std::int64_t{onesided}}});
          const Shape shape = {2, (samples - frame) / step + 1, onesided ? frame / 2 + 1 : frame, 2};
          ASSERT_EQ(y.shape(), shape);
          for (std::int64_t i = 0; i < y.size(); ++i) {
            const auto at = unravel(i, shape);
            Tensor part = *Tensor::create(DType::kF64, {frame, 2});
            for (std::int64_t n = 0; n < frame; ++n) {
              const Number v = sample(x, {at[0], 0, 0}, 1, at[1] * step + n);
              const double w = windowed ? window.at_as_double(n) : 1;
              part.mutable_data<double>()[2 * n] = v.re * w;
              part.mutable_data<double>()[2 * n + 1] = v.im * w;
            }
            ASSERT_NEAR(y.at_as_double(i), dft_at(part, {at[2], at[3]}, 0, frame, false), 1e-12);
          }
        }
      }
    }
  }
}

TEST(Stft, RefusesFramesThatDoNotFit) {
  const Tensor x = waves(DType::kF32, {1, 8, 1}, 1);
  EXPECT_FALSE(run("STFT", {x, Tensor::scalar<std::int64_t>(0), Tensor(), Tensor::scalar<std::int64_t>(4)}).ok());
  EXPECT_FALSE(run("STFT", {x, Tensor::scalar<std::int64_t>(1), Tensor(), Tensor::scalar<std::int64_t>(9)}).ok());
  EXPECT_FALSE(run("STFT", {x, Tensor::scalar<std::int64_t>(1), waves(DType::kF32, {3}, 1), Tensor::scalar<std::int64_t>(4)}).ok());
  EXPECT_EQ(inferred("STFT", {f32({sym("N"), 100, 1}), s64({}), f32({16})}, {}, {Tensor(), Tensor::scalar<std::int64_t>(4)}), "f32[N,22,9,2]");
}

TEST(SignalWindow, HasTheClosedForm) {
  constexpr double kPi = std::numbers::pi;
  for (const std::int64_t size : {0, 1, 2, 7, 16}) {
    for (const int periodic : {0, 1}) {
      const double period = static_cast<double>(periodic ? size : size - 1);
      const auto check = [&](const char* op, auto&& expected) {
        const Tensor y = run1(op, {Tensor::scalar<std::int64_t>(size)}, {{"periodic", std::int64_t{periodic}}});
        ASSERT_EQ(y.shape(), Shape{size});
        for (std::int64_t n = 0; n < size; ++n) {
          // One symmetric sample is the middle of the window.
          EXPECT_NEAR(y.at_as_double(n), period == 0 ? 1 : expected(static_cast<double>(n) / period), 1e-6) << op << size;
        }
      };
      check("HannWindow", [&](double t) { return std::pow(std::sin(kPi * t), 2); });
      check("HammingWindow", [&](double t) { return 25.0 / 46 - 21.0 / 46 * std::cos(2 * kPi * t); });
      check("BlackmanWindow", [&](double t) { return 0.42 - 0.5 * std::cos(2 * kPi * t) + 0.08 * std::cos(4 * kPi * t); });
    }
  }
  EXPECT_EQ(run1("HannWindow", {Tensor::scalar<std::int64_t>(4)}, {{"output_datatype", std::int64_t{11}}}).dtype(), DType::kF64);
  EXPECT_FALSE(run("HannWindow", {Tensor::scalar<std::int64_t>(-1)}).ok());
  EXPECT_FALSE(run("HannWindow", {Tensor::scalar<std::int64_t>(std::int64_t{1} << 50)}).ok());
}

// The triangles of neighbouring bands meet: a band rises where the one before it falls, and each peak is 1.
TEST(MelWeightMatrix, IsAPartitionBetweenItsPeaks) {
  const auto scalar = [](std::int64_t v) { return Tensor::scalar(v); };
  const Tensor y = run1("MelWeightMatrix", {scalar(8), scalar(512), scalar(16000), Tensor::scalar(100.0f), Tensor::scalar(7000.0f)});
  ASSERT_EQ(y.shape(), (Shape{257, 8}));
  const auto at = [&](std::int64_t row, std::int64_t band) { return y.at_as_double(row * 8 + band); };
  std::vector<std::int64_t> peaks;
  for (std::int64_t band = 0; band < 8; ++band) {
    for (std::int64_t row = 0; row < 257; ++row) {
      EXPECT_GE(at(row, band), 0);
      EXPECT_LE(at(row, band), 1);
      if (at(row, band) == 1) peaks.push_back(row);
    }
  }
  ASSERT_EQ(peaks.size(), 8u);
  // Bands are even in mel, over two more steps than there are bands.
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  for (std::size_t band = 0; band < 8; ++band) {
    const double centre = mel(100) + (mel(7000) - mel(100)) * static_cast<double>(band + 1) / 10;
    EXPECT_NEAR(mel(static_cast<double>(peaks[band]) * 16000 / 513), centre, mel(100 + 16000.0 / 513) - mel(100));
  }
  for (std::int64_t band = 0; band + 1 < 8; ++band) {
    for (std::int64_t row = peaks[band]; row < peaks[band + 1]; ++row) EXPECT_NEAR(at(row, band) + at(row, band + 1), 1, 1e-6);
  }
  EXPECT_FALSE(run("MelWeightMatrix", {scalar(8), scalar(512), scalar(16000), Tensor::scalar(100.0f), Tensor::scalar(16000.0f)}).ok());
  EXPECT_FALSE(run("MelWeightMatrix", {scalar(1 << 24), scalar(1 << 24), scalar(16000), Tensor::scalar(0.0f), Tensor::scalar(8000.0f)}).ok());
}

}  // namespace
}  // namespace narrow::operators::testing
