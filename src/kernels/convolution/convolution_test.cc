#include "kernels/convolution/convolution.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

namespace narrow::kernels {
namespace {

std::vector<float> random_values(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(generator);
  return values;
}

ConvolutionProblem square(std::int64_t channels, std::int64_t filters, std::int64_t size, std::int64_t kernel, std::int64_t stride,
                          std::int64_t groups, bool channels_last) {
  ConvolutionProblem p;
  p.in_channels = channels;
  p.out_channels = filters;
  p.groups = groups;
  p.channels_last = channels_last;
  const std::int64_t pad = kernel / 2, out = (size + 2 * pad - kernel) / stride + 1;
  p.axes.assign(2, Window{size, out, kernel, stride, 1, pad, pad});
  return p;
}

// A session is opened on one thread and run on others: calibration and evaluation do so.
TEST(OnednnConvolution, RunsOnAThreadThatDidNotMakeIt) {
  for (const bool channels_last : {false, true}) {
    for (const auto& [channels, filters, size, kernel, stride, groups] :
         std::vector<std::array<std::int64_t, 6>>{{3, 16, 40, 3, 1, 1}, {12, 16, 52, 3, 1, 1}, {16, 16, 26, 3, 2, 16}, {40, 24, 26, 1, 1, 1},
                                                  {24, 40, 26, 1, 2, 1}, {64, 64, 13, 5, 1, 64}, {20, 20, 19, 3, 1, 4}, {7, 5, 33, 7, 3, 1}}) {
      const ConvolutionProblem p = square(channels, filters, size, kernel, stride, groups, channels_last);
      const auto source = random_values(channels * size * size, 1), weights = random_values(filters * channels / groups * kernel * kernel, 2);
      const std::size_t count = filters * p.axes[0].out * p.axes[1].out;
      std::vector<float> expected(count), found(count);
      base::ThreadPool pool(1);
      const auto reference = make_reference_convolution(p, weights.data());
      ASSERT_TRUE(reference.ok());
      ASSERT_TRUE((*reference)->run({source.data(), weights.data(), nullptr, nullptr, expected.data()}, pool).ok());
      const auto made_here = make_onednn_convolution(p, weights.data(), 1);
      ASSERT_TRUE(made_here.ok()) << made_here.error().message();
      std::thread([&] { EXPECT_TRUE((*made_here)->run({source.data(), nullptr, nullptr, nullptr, found.data()}, pool).ok()); }).join();
      for (std::size_t i = 0; i < count; ++i) ASSERT_NEAR(expected[i], found[i], 1e-3) << (*made_here)->describe() << " at " << i;
    }
  }
}

// Pads as wide as the kernel and wider leave outputs that see no input: there bias, residual and activation still count.
TEST(Convolution, AddsTheResidualWhereAWindowHoldsOnlyPadding) {
  for (const bool channels_last : {false, true}) {
    for (const std::int64_t kernel : {1, 2, 3}) {
      for (const std::int64_t pad : {0, 1, 2, 4}) {
        ConvolutionProblem p = square(4, 6, 5, kernel, 1, 1, channels_last);
        p.axes.assign(2, Window{5, 5 + 2 * pad - kernel + 1, kernel, 1, 1, pad, pad});
        p.has_bias = p.has_residual = true;
        p.activation.kind = ConvolutionActivation::Kind::kTanh;
        const std::size_t count = 6 * p.axes[0].out * p.axes[1].out;
        const auto source = random_values(4 * 25, 1), weights = random_values(6 * 4 * kernel * kernel, 2), bias = random_values(6, 3), residual = random_values(count, 4);
        std::vector<float> expected(count), found(count);
        base::ThreadPool pool(1);
        const auto reference = make_reference_convolution(p, weights.data());
        const auto made = Convolution::create(p, weights.data(), 1);
        ASSERT_TRUE(reference.ok() && made.ok());
        ASSERT_TRUE((*reference)->run({source.data(), weights.data(), bias.data(), residual.data(), expected.data()}, pool).ok());
        ASSERT_TRUE((*made)->run({source.data(), weights.data(), bias.data(), residual.data(), found.data()}, pool).ok());
        for (std::size_t i = 0; i < count; ++i) ASSERT_NEAR(expected[i], found[i], 1e-4) << (*made)->describe() << " kernel " << kernel << " pad " << pad << " at " << i;
      }
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
