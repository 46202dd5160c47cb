#include "kernels/conv_s8/conv_s8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/conv_s8/depthwise_s8.h"

namespace narrow::kernels {
namespace {

std::int64_t out_size(const ConvAxis& a, std::int64_t pad_end) {
  return (a.in + a.pad + pad_end - ((a.kernel - 1) * a.dilation + 1)) / a.stride + 1;
}

struct Case {
  ConvS8Shape shape;
  std::vector<std::uint8_t> x, w;
  std::vector<std::int32_t> w_zero, bias;
  std::int32_t x_zero;
  bool x_signed, w_unsigned;
};

int code(std::uint8_t byte, bool is_signed) { return is_signed ? static_cast<std::int8_t>(byte) : byte; }

// By definition: padding contributes nothing.
std::int64_t sum_at(const Case& t, std::int64_t n, std::int64_t f, std::int64_t od, std::int64_t oh, std::int64_t ow) {
  const ConvS8Shape& s = t.shape;
  const std::int64_t gc = s.channels / s.groups, g = f / (s.filters / s.groups);
  std::int64_t sum = t.bias[f];
  for (std::int64_t c = 0; c < gc; ++c) {
    for (std::int64_t kd = 0; kd < s.axes[0].kernel; ++kd) {
      for (std::int64_t kh = 0; kh < s.axes[1].kernel; ++kh) {
        for (std::int64_t kw = 0; kw < s.axes[2].kernel; ++kw) {
          const std::int64_t id = od * s.axes[0].stride - s.axes[0].pad + kd * s.axes[0].dilation;
          const std::int64_t ih = oh * s.axes[1].stride - s.axes[1].pad + kh * s.axes[1].dilation;
          const std::int64_t iw = ow * s.axes[2].stride - s.axes[2].pad + kw * s.axes[2].dilation;
          if (id < 0 || ih < 0 || iw < 0 || id >= s.axes[0].in || ih >= s.axes[1].in || iw >= s.axes[2].in) continue;
          const std::int64_t xi = (((n * s.axes[0].in + id) * s.axes[1].in + ih) * s.axes[2].in + iw) * s.channels + g * gc + c;
          const std::int64_t wi = ((f * gc + c) * s.axes[0].kernel + kd) * s.axes[1].kernel * s.axes[2].kernel + kh * s.axes[2].kernel + kw;
          const int zero = t.w_zero[t.w_zero.size() == 1 ? 0 : f];
          sum += static_cast<std::int64_t>(code(t.x[xi], t.x_signed) - t.x_zero) * (code(t.w[wi], !t.w_unsigned) - zero);
        }
      }
    }
  }
  return sum;
}

Case random_case(std::mt19937& random, bool depthwise) {
  Case t;
  ConvS8Shape& s = t.shape;
  s.batch = 1 + random() % 2;
  s.groups = depthwise ? 2 + random() % 40 : 1 + random() % 3;
  s.channels = s.groups * (depthwise ? 1 : 1 + random() % 7);
  s.filters = s.groups * (depthwise ? 1 : 1 + random() % 20);
  for (int d = random() % 3; d < 3; ++d) {
    ConvAxis& a = s.axes[d];
    a.kernel = 1 + random() % 3;
    a.stride = 1 + random() % 2;
    a.dilation = 1 + random() % 2;
    a.pad = random() % 3;
    a.in = (a.kernel - 1) * a.dilation + 1 + random() % 6;
    a.out = out_size(a, static_cast<std::int64_t>(random() % 3));
  }
  t.x_signed = random() % 2;
  t.w_unsigned = random() % 3 == 0;
  t.x_zero = t.x_signed ? static_cast<int>(random() % 256) - 128 : static_cast<int>(random() % 256);
  t.x.resize(s.batch * s.pixels_in() * s.channels);
  t.w.resize(s.filters * (s.channels / s.groups) * s.taps());
  for (auto& v : t.x) v = static_cast<std::uint8_t>(random());
  for (auto& v : t.w) v = static_cast<std::uint8_t>(random());
  const int kind = random() % 3;  // symmetric, one zero point, one a filter
  t.w_zero.assign(kind == 2 ? s.filters : 1, t.w_unsigned ? 128 : 0);
  for (auto& z : t.w_zero) z += kind == 0 ? 0 : static_cast<int>(random() % 20) - 10;
  t.bias.resize(s.filters);
  for (auto& b : t.bias) b = static_cast<int>(random() % 2000) - 1000;
  return t;
}

TEST(ConvS8, SumsMatchTheDefinition) {
  std::mt19937 random(5);
  base::ThreadPool pool(2);
  for (int round = 0; round < 200; ++round) {
    const Case t = random_case(random, round % 3 == 0);
    const ConvS8Shape& s = t.shape;
    const ConvS8Weights weights(t.w.data(), t.w_unsigned, s.filters, s.channels / s.groups, s.taps(), s.groups, t.w_zero,
                                s.axes[2].dilation == 1 ? s.axes[2].kernel : 1);
    ConvS8Weights::Output out;
    out.offset = weights.offsets(t.x_zero, t.x_signed, t.bias.data());
    std::vector<std::int32_t> y(s.batch * s.pixels_out() * s.filters, 123456);
    weights.run(s, t.x.data(), t.x_signed, t.x_zero, out, y.data(), pool);
    std::size_t i = 0;
    for (std::int64_t n = 0; n < s.batch; ++n) {
      for (std::int64_t od = 0; od < s.axes[0].out; ++od) {
        for (std::int64_t oh = 0; oh < s.axes[1].out; ++oh) {
          for (std::int64_t ow = 0; ow < s.axes[2].out; ++ow) {
            for (std::int64_t f = 0; f < s.filters; ++f, ++i) ASSERT_EQ(y[i], sum_at(t, n, f, od, oh, ow)) << "round " << round;
          }
        }
      }
    }
  }
}

TEST(ConvS8, ThreadsDoNotChangeTheCodes) {
  std::mt19937 random(6);
  Case t = random_case(random, false);
  t.shape = ConvS8Shape{2, 32, 80, 1, {}};
  t.shape.axes[1] = {20, 20, 3, 1, 1, 1};
  t.shape.axes[2] = {21, 21, 3, 1, 1, 1};
  t.x.resize(2 * 20 * 21 * 32);
  t.w.resize(80 * 32 * 9);
  for (auto& v : t.x) v = static_cast<std::uint8_t>(random());
  for (auto& v : t.w) v = static_cast<std::uint8_t>(random());
  const ConvS8Weights weights(t.w.data(), false, 80, 32, 9, 1, {}, 3);
  ConvS8Weights::Output out;
  out.type = GemmOutput::kU8;
  out.offset = weights.offsets(7, false, nullptr);
  out.scale.assign(80, 0.0007f);
  out.bias.assign(80, 0.25f);
  out.zero_point = 100;
  std::vector<std::uint8_t> first;
  for (int threads : {1, 2, 5}) {
    base::ThreadPool pool(threads);
    std::vector<std::uint8_t> y(2 * 20 * 21 * 80);
    weights.run(t.shape, t.x.data(), false, 7, out, y.data(), pool);
    if (first.empty()) first = y;
    EXPECT_EQ(y, first);
  }
  EXPECT_GT(*std::max_element(first.begin(), first.end()), *std::min_element(first.begin(), first.end()));
}

TEST(DepthwiseS8, EveryInstructionSetGivesTheSameBits) {
  std::mt19937 random(8);
  constexpr std::int64_t kPixels = 11;
  for (std::int64_t channels : {1, 15, 16, 17, 32, 50, 63, 64, 80, 96, 150}) {
    for (std::int64_t taps : {1, 2, 3, 4, 9, 25}) {
      const std::int64_t padded = (channels + 15) / 16 * 16;
      std::vector<std::uint8_t> codes((kPixels + 6) * taps * channels);
      for (auto& v : codes) v = static_cast<std::uint8_t>(random() % 3 == 0 ? 255 : random());
      std::vector<const std::uint8_t*> rows;
      std::vector<std::int64_t> offsets;
      // Some pixels side by side, as in a line, the others apart.
      for (std::int64_t i = 0; i < kPixels; ++i) rows.push_back(codes.data() + (i < 6 ? i : (kPixels - 1 - i) * taps) * channels);
      for (std::int64_t t = 0; t < taps; ++t) offsets.push_back((t * 2 + 1) % taps * channels);
      std::vector<std::int8_t> w(channels * taps);
      for (auto& v : w) v = static_cast<std::int8_t>(random() % 3 == 0 ? -128 : random());
      std::vector<std::int32_t> offset(padded);
      for (auto& v : offset) v = static_cast<std::int32_t>(random() % 1000);
      std::vector<float> scale(padded), bias(padded);
      for (auto& v : scale) v = static_cast<float>(random() % 100) / 30000;
      for (auto& v : bias) v = static_cast<float>(random() % 100) / 7;
      for (GemmOutput output : {GemmOutput::kS32, GemmOutput::kF32, GemmOutput::kU8, GemmOutput::kS8}) {
        const GemmEpilogue e{output, offset.data(), scale.data(), bias.data(), 30, output == GemmOutput::kS8 ? -100 : 30, output == GemmOutput::kS8 ? 120 : 255};
        for (bool flip : {false, true}) {
          const DepthwiseInput in = {rows.data(), kPixels, offsets.data(), taps, channels, flip};
          std::vector<std::int32_t> want(kPixels * channels + 1, 9);
          kDepthwiseS8Reference.run(in, kDepthwiseS8Reference.pack(w.data(), channels, taps).data(), e, want.data());
          for (const DepthwiseS8* kernel : depthwise_s8_kernels()) {
            std::vector<std::int32_t> got(kPixels * channels + 1, 9);
            kernel->run(in, kernel->pack(w.data(), channels, taps).data(), e, got.data());
            EXPECT_EQ(got, want) << kernel->name << ": " << channels << " channels, " << taps << " taps";
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
