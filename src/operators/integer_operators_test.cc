// The integer operators against the definition: dequantize, compute in double, quantize.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using testing::Attributes;
using testing::Ints;
using testing::make_node;
using testing::run_node;

struct Codes {
  Tensor tensor, scale, zero;
  double real(std::int64_t i) const { return (tensor.at_as_double(i) - zero.at_as_double(0)) * scale.at_as_double(0); }
};

Tensor random_codes(DType dtype, Shape shape, std::mt19937& random) {
  Tensor t = *Tensor::create(dtype, std::move(shape));
  auto* bytes = static_cast<std::uint8_t*>(t.mutable_raw());
  for (std::uint64_t i = 0; i < t.bytes(); ++i) bytes[i] = static_cast<std::uint8_t>(random());
  return t;
}

Tensor code(DType dtype, int value) {
  return dtype == DType::kU8 ? Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(value)) : Tensor::scalar<std::int8_t>(static_cast<std::int8_t>(value));
}

Codes make_codes(DType dtype, Shape shape, std::mt19937& random, float scale, int zero) {
  return {random_codes(dtype, std::move(shape), random), Tensor::scalar<float>(scale), code(dtype, zero)};
}

double to_code(double real, double scale, double zero, DType dtype) {
  const IntegerRange range = integer_range(dtype);
  return std::clamp(std::nearbyint(real / scale) + zero, static_cast<double>(range.min), static_cast<double>(range.max));
}

std::vector<Tensor> run(const graph::Node& node, const std::vector<Tensor>& inputs) {
  auto out = run_node(node, inputs);
  EXPECT_TRUE(out.ok()) << node.op_type << ": " << (out.ok() ? "" : out.error().to_string());
  return out.ok() ? *out : std::vector<Tensor>{};
}

graph::Node in_domain(std::string domain, graph::Node node) {
  node.domain = std::move(domain);
  return node;
}

TEST(QLinearConv, WithinACodeOfTheRealConvolution) {
  std::mt19937 random(11);
  int exact = 0, total = 0;
  for (int round = 0; round < 60; ++round) {
    const DType xt = round % 2 ? DType::kU8 : DType::kS8, yt = round % 3 ? DType::kU8 : DType::kS8;
    const std::int64_t group = 1 + random() % 3, c = group * (1 + random() % 3), f = group * (1 + random() % 4);
    const std::int64_t h = 4 + random() % 5, w = 4 + random() % 5, kh = 1 + random() % 3, kw = 1 + random() % 3;
    const bool last = round % 4 == 0;
    Codes x = make_codes(xt, last ? Shape{2, h, w, c} : Shape{2, c, h, w}, random, 0.02f, xt == DType::kU8 ? 100 : -9);
    const Tensor weight = random_codes(DType::kS8, {f, c / group, kh, kw}, random);
    Tensor w_scale = *Tensor::create(DType::kF32, {f});
    for (float& s : w_scale.mutable_data<float>()) s = 0.001f + static_cast<float>(random() % 100) / 50000;
    const Tensor w_zero = *Tensor::create(DType::kS8, {f});
    Tensor bias = *Tensor::create(DType::kS32, {f});
    for (std::int32_t& b : bias.mutable_data<std::int32_t>()) b = static_cast<int>(random() % 4000) - 2000;
    const float y_scale = 0.05f;
    const int y_zero = yt == DType::kU8 ? 120 : 3;
    const std::int64_t stride = 1 + random() % 2;
    graph::Node node = make_node("QLinearConv", 9, 1, {{"pads", Ints{1, 0, 1, 1}}, {"strides", Ints{stride, 1}}, {"group", group}});
    if (last) {
      node.domain = "com.microsoft";
      node.set("channels_last", std::int64_t{1});
    }
    const auto y = run(node, {x.tensor, x.scale, x.zero, weight, w_scale, w_zero, Tensor::scalar<float>(y_scale), code(yt, y_zero), bias});
    ASSERT_EQ(y.size(), 1u);
    const std::int64_t oh = (h + 2 - kh) / stride + 1, ow = w + 1 - kw + 1;
    ASSERT_EQ(y[0].shape(), last ? (Shape{2, oh, ow, f}) : (Shape{2, f, oh, ow}));
    ASSERT_EQ(y[0].dtype(), yt);
    for (std::int64_t n = 0; n < 2; ++n) {
      for (std::int64_t k = 0; k < f; ++k) {
        for (std::int64_t i = 0; i < oh; ++i) {
          for (std::int64_t j = 0; j < ow; ++j) {
            double sum = bias.data<std::int32_t>()[k] * 0.02f * static_cast<double>(w_scale.data<float>()[k]);
            for (std::int64_t ci = 0; ci < c / group; ++ci) {
              for (std::int64_t a = 0; a < kh; ++a) {
                for (std::int64_t b = 0; b < kw; ++b) {
                  const std::int64_t ih = i * stride - 1 + a, iw = j + b, channel = k / (f / group) * (c / group) + ci;
                  if (ih < 0 || ih >= h || iw < 0 || iw >= w) continue;
                  const std::int64_t xi = last ? ((n * h + ih) * w + iw) * c + channel : ((n * c + channel) * h + ih) * w + iw;
                  sum += x.real(xi) * weight.at_as_double(((k * (c / group) + ci) * kh + a) * kw + b) * w_scale.data<float>()[k];
                }
              }
            }
            const double want = to_code(sum, y_scale, y_zero, yt);
            const double got = y[0].at_as_double(last ? ((n * oh + i) * ow + j) * f + k : ((n * f + k) * oh + i) * ow + j);
            ASSERT_NEAR(got, want, 1);
            exact += got == want;
            ++total;
          }
        }
      }
    }
  }
  EXPECT_GT(exact, total - total / 1000);
}

TEST(ConvInteger, PaddingIsTheZeroPoint) {
  const Tensor x = Tensor::from<std::uint8_t>({1, 1, 3, 3}, {2, 3, 4, 5, 6, 7, 8, 9, 10});
  const Tensor w = Tensor::from<std::uint8_t>({1, 1, 2, 2}, {1, 1, 1, 1});
  const auto y = run(make_node("ConvInteger", 3, 1, {{"pads", Ints{1, 1, 1, 1}}}), {x, w, Tensor::scalar<std::uint8_t>(1)});
  ASSERT_EQ(y[0].shape(), (Shape{1, 1, 4, 4}));
  EXPECT_EQ(y[0].to_int64(), (std::vector<std::int64_t>{1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9}));
}

TEST(QConv, FloatOutputFloatBiasAndFoldedRelu) {
  std::mt19937 random(2);
  Codes x = make_codes(DType::kU8, {1, 4, 4, 3}, random, 0.1f, 7);
  const Tensor w = random_codes(DType::kS8, {2, 3, 1, 1}, random);
  const Tensor w_scale = Tensor::from<float>({2}, {0.01f, 0.02f}), bias = Tensor::from<float>({2}, {5.5f, -3.25f});
  graph::Node node = in_domain("narrow", make_node("QConv", 9, 1));
  const auto real = run(node, {x.tensor, x.scale, x.zero, w, w_scale, {}, {}, {}, bias});
  ASSERT_EQ(real[0].dtype(), DType::kF32);
  node.set("q_min", std::int64_t{30});
  const auto codes = run(node, {x.tensor, x.scale, x.zero, w, w_scale, {}, Tensor::scalar<float>(0.2f), Tensor::scalar<std::uint8_t>(30), bias});
  for (std::int64_t i = 0; i < 32; ++i) {
    double sum = bias.data<float>()[i % 2];
    for (int c = 0; c < 3; ++c) sum += x.real(i / 2 * 3 + c) * w.at_as_double(i % 2 * 3 + c) * w_scale.data<float>()[i % 2];
    EXPECT_NEAR(real[0].data<float>()[i], sum, 1e-4);
    EXPECT_NEAR(codes[0].at_as_double(i), to_code(std::max(sum, 0.0), 0.2f, 30, DType::kU8), 1);
    EXPECT_GE(codes[0].at_as_double(i), 30);
  }
}

TEST(MatMulInteger, ZeroPointsBatchesAndVectors) {
  std::mt19937 random(4);
  const struct { Shape a, b, y; } shapes[] = {{{3, 5}, {5, 4}, {3, 4}},       {{2, 3, 5}, {5, 4}, {2, 3, 4}}, {{2, 1, 3, 5}, {6, 5, 4}, {2, 6, 3, 4}},
                                              {{5}, {5, 4}, {4}},              {{3, 5}, {5}, {3}},             {{40, 70}, {70, 33}, {40, 33}}};
  for (const auto& s : shapes) {
    for (int mode = 0; mode < 8; ++mode) {
      const DType at = mode & 1 ? DType::kU8 : DType::kS8, bt = mode & 2 ? DType::kU8 : DType::kS8;
      const Tensor a = random_codes(at, s.a, random), b = random_codes(bt, s.b, random);
      const std::int64_t n = s.b.size() == 1 ? 1 : s.b.back(), k = s.a.back(), m = s.a.size() == 1 ? 1 : s.a[s.a.size() - 2];
      const bool per_row = mode & 4;
      const Tensor az = per_row ? random_codes(at, {m}, random) : random_codes(at, {}, random);
      const Tensor bz = per_row ? random_codes(bt, {n}, random) : random_codes(bt, {}, random);
      const auto y = run(make_node("MatMulInteger", 4, 1), {a, b, az, bz});
      ASSERT_EQ(y[0].shape(), s.y);
      const std::int64_t b_batches = b.size() / (k * n), a_batches = a.size() / (m * k);
      for (std::int64_t i = 0; i < y[0].size(); ++i) {
        const std::int64_t column = i % n, row = i / n % m, batch = i / (n * m);
        const std::int64_t ab = a_batches == 1 ? 0 : b_batches == 1 ? batch : batch / b_batches, bb = batch % b_batches;
        double sum = 0;
        for (std::int64_t j = 0; j < k; ++j) {
          sum += (a.at_as_double((ab * m + row) * k + j) - az.at_as_double(per_row ? row : 0)) *
                 (b.at_as_double((bb * k + j) * n + column) - bz.at_as_double(per_row ? column : 0));
        }
        ASSERT_EQ(y[0].at_as_double(i), sum) << "mode " << mode << " element " << i;
      }
    }
  }
}

TEST(QLinearMatMul, MatchesTheSpecificationsExample) {
  const Tensor a = Tensor::from<std::uint8_t>({2, 4}, {208, 236, 0, 238, 3, 214, 255, 29});
  const Tensor b = Tensor::from<std::uint8_t>({4, 3}, {152, 51, 244, 60, 26, 255, 0, 127, 246, 127, 254, 247});
  const auto y = run(make_node("QLinearMatMul", 8, 1),
                     {a, Tensor::from<float>({1}, {0.0066f}), Tensor::from<std::uint8_t>({1}, {113}), b, Tensor::from<float>({1}, {0.00705f}),
                      Tensor::from<std::uint8_t>({1}, {114}), Tensor::from<float>({1}, {0.0107f}), Tensor::from<std::uint8_t>({1}, {118})});
  EXPECT_EQ(y[0].to_int64(), (std::vector<std::int64_t>{168, 115, 255, 1, 66, 151}));
}

TEST(QGemm, TransposesScalesAndBiases) {
  std::mt19937 random(9);
  for (int mode = 0; mode < 8; ++mode) {
    const bool ta = mode & 1, tb = mode & 2, real_output = mode & 4;
    Codes a = make_codes(DType::kU8, ta ? Shape{6, 3} : Shape{3, 6}, random, 0.03f, 90);
    const Tensor b = random_codes(DType::kS8, tb ? Shape{5, 6} : Shape{6, 5}, random);
    const Tensor b_scale = Tensor::from<float>({5}, {0.01f, 0.02f, 0.03f, 0.04f, 0.05f}), b_zero = *Tensor::create(DType::kS8, {5});
    const Tensor c = Tensor::from<std::int32_t>({5}, {100, -200, 300, 0, 50});
    const graph::Node node = in_domain("com.microsoft", make_node("QGemm", 9, 1, {{"transA", std::int64_t{ta}}, {"transB", std::int64_t{tb}}, {"alpha", 0.5f}}));
    const Tensor y_scale = real_output ? Tensor() : Tensor::scalar<float>(0.1f), y_zero = real_output ? Tensor() : Tensor::scalar<std::uint8_t>(128);
    const auto y = run(node, {a.tensor, a.scale, a.zero, b, b_scale, b_zero, c, y_scale, y_zero});
    for (std::int64_t i = 0; i < 15; ++i) {
      const std::int64_t row = i / 5, column = i % 5;
      double sum = 0;
      for (std::int64_t j = 0; j < 6; ++j) sum += a.real(ta ? j * 3 + row : row * 6 + j) * b.at_as_double(tb ? column * 6 + j : j * 5 + column);
      sum = 0.5 * b_scale.data<float>()[column] * (sum + c.data<std::int32_t>()[column] * 0.03);
      if (real_output) ASSERT_NEAR(y[0].at_as_double(i), sum, 1e-4);
      else ASSERT_NEAR(y[0].at_as_double(i), to_code(sum, 0.1, 128, DType::kU8), 1);
    }
  }
}

TEST(DynamicQuantizeMatMul, StaysWithinTheStepsOfItsGrid) {
  std::mt19937 random(10);
  const Tensor a = testing::random_tensor({2, 7, 48}, random), b = random_codes(DType::kS8, {48, 20}, random);
  Tensor b_scale = *Tensor::create(DType::kF32, {20});
  for (float& s : b_scale.mutable_data<float>()) s = 0.005f;
  const Tensor bias = testing::random_tensor({20}, random);
  const auto y = run(in_domain("com.microsoft", make_node("DynamicQuantizeMatMul", 5, 1)), {a, b, b_scale, {}, bias});
  ASSERT_EQ(y[0].shape(), (Shape{2, 7, 20}));
  for (std::int64_t i = 0; i < y[0].size(); ++i) {
    double sum = bias.data<float>()[i % 20], reach = 0;
    for (std::int64_t j = 0; j < 48; ++j) {
      const double w = b.at_as_double(j * 20 + i % 20) * 0.005;
      sum += a.data<float>()[i / 20 * 48 + j] * w;
      reach += std::fabs(w) * (2.0 / 255) / 2;
    }
    ASSERT_NEAR(y[0].data<float>()[i], sum, reach + 1e-5);
  }
}

TEST(QLinearAddMul, EqualDequantizeComputeQuantize) {
  std::mt19937 random(12);
  const std::pair<Shape, Shape> shapes[] = {{{2, 3, 700}, {2, 3, 700}}, {{2, 3, 4}, {3, 1}}, {{1}, {5, 4}}, {{6, 1, 2}, {3, 2}}, {{}, {}}};
  for (const auto& [sa, sb] : shapes) {
    for (const char* op : {"QLinearAdd", "QLinearMul"}) {
      for (DType dtype : {DType::kU8, DType::kS8}) {
        Codes a = make_codes(dtype, sa, random, 0.11f, 20), b = make_codes(dtype, sb, random, 0.07f, -0 + 60);
        const auto y = run(in_domain("com.microsoft", make_node(op, 8, 1)),
                           {a.tensor, a.scale, a.zero, b.tensor, b.scale, b.zero, Tensor::scalar<float>(0.15f), code(dtype, 5)});
        // Broadcasting by coordinates.
        const Shape& out = y[0].shape();
        for (std::int64_t i = 0; i < y[0].size(); ++i) {
          const auto offset = [&](const Shape& s) {
            std::int64_t at = 0, stride = 1, rest = i;
            for (std::size_t d = out.size(); d-- > 0;) {
              const std::int64_t coordinate = rest % out[d];
              rest /= out[d];
              if (d + s.size() < out.size()) continue;
              const std::int64_t size = s[d + s.size() - out.size()];
              at += (size == 1 ? 0 : coordinate) * stride;
              stride *= size;
            }
            return at;
          };
          const float fa = static_cast<float>(a.tensor.at_as_double(offset(sa)) - a.zero.at_as_double(0)) * 0.11f;
          const float fb = static_cast<float>(b.tensor.at_as_double(offset(sb)) - b.zero.at_as_double(0)) * 0.07f;
          const float f = std::string(op) == "QLinearAdd" ? fa + fb : fa * fb;
          ASSERT_EQ(y[0].at_as_double(i), to_code(f / 0.15f, 1, 5, dtype)) << op << " element " << i;
        }
      }
    }
  }
}

TEST(QLinearConcat, RequantizesPartsOfOtherScales) {
  std::mt19937 random(13);
  Codes a = make_codes(DType::kU8, {2, 3, 4}, random, 0.1f, 10), b = make_codes(DType::kU8, {2, 5, 4}, random, 0.2f, 30);
  const auto y = run(in_domain("com.microsoft", make_node("QLinearConcat", 8, 1, {{"axis", std::int64_t{1}}})),
                     {a.scale, a.zero, a.tensor, a.scale, a.zero, b.tensor, b.scale, b.zero});
  ASSERT_EQ(y[0].shape(), (Shape{2, 8, 4}));
  for (std::int64_t n = 0; n < 2; ++n) {
    for (std::int64_t c = 0; c < 8; ++c) {
      for (std::int64_t i = 0; i < 4; ++i) {
        const double got = y[0].at_as_double((n * 8 + c) * 4 + i);
        if (c < 3) ASSERT_EQ(got, a.tensor.at_as_double((n * 3 + c) * 4 + i));
        else ASSERT_EQ(got, to_code(static_cast<float>(b.real((n * 5 + c - 3) * 4 + i)) / 0.1f, 1, 10, DType::kU8));
      }
    }
  }
}

TEST(QLinearPool, AveragesWithAndWithoutPadding) {
  std::mt19937 random(14);
  for (bool last : {false, true}) {
    for (std::int64_t include : {0, 1}) {
      Codes x = make_codes(DType::kU8, last ? Shape{1, 5, 5, 3} : Shape{1, 3, 5, 5}, random, 0.1f, 50);
      const Attributes attributes = {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}, {"count_include_pad", include}, {"channels_last", std::int64_t{last}}};
      const auto y = run(in_domain("com.microsoft", make_node("QLinearAveragePool", 5, 1, attributes)), {x.tensor, x.scale, x.zero, Tensor::scalar<float>(0.05f), code(DType::kU8, 60)});
      ASSERT_EQ(y[0].shape(), last ? (Shape{1, 3, 3, 3}) : (Shape{1, 3, 3, 3}));
      for (int c = 0; c < 3; ++c) {
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) {
            double sum = 0;
            int count = 0;
            for (int a = -1; a < 2; ++a) {
              for (int b = -1; b < 2; ++b) {
                const int h = i * 2 + a, w = j * 2 + b;
                if (h < 0 || w < 0 || h > 4 || w > 4) continue;
                sum += x.real(last ? (h * 5 + w) * 3 + c : (c * 5 + h) * 5 + w);
                ++count;
              }
            }
            const double got = y[0].at_as_double(last ? (i * 3 + j) * 3 + c : (c * 3 + i) * 3 + j);
            ASSERT_NEAR(got, to_code(sum / (include ? 9 : count), 0.05f, 60, DType::kU8), 1);
          }
        }
      }
    }
  }
  Codes x = make_codes(DType::kS8, {2, 3, 4, 5}, random, 0.1f, -5);
  const auto y = run(in_domain("com.microsoft", make_node("QLinearGlobalAveragePool", 5, 1)), {x.tensor, x.scale, x.zero, Tensor::scalar<float>(0.1f), code(DType::kS8, -5)});
  ASSERT_EQ(y[0].shape(), (Shape{2, 3, 1, 1}));
  for (int i = 0; i < 6; ++i) {
    double sum = 0;
    for (int j = 0; j < 20; ++j) sum += x.real(i * 20 + j);
    EXPECT_NEAR(y[0].at_as_double(i), to_code(sum / 20, 0.1f, -5, DType::kS8), 1);
  }
}

TEST(QLinearUnary, TablesFollowTheFunction) {
  Tensor x = *Tensor::create(DType::kU8, {256});
  for (int i = 0; i < 256; ++i) x.mutable_data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  const std::vector<Tensor> inputs = {x, Tensor::scalar<float>(0.05f), code(DType::kU8, 128), Tensor::scalar<float>(1.0f / 256), code(DType::kU8, 0)};
  const auto sigmoid = run(in_domain("com.microsoft", make_node("QLinearSigmoid", 5, 1)), inputs);
  const auto leaky = run(in_domain("com.microsoft", make_node("QLinearLeakyRelu", 5, 1, {{"alpha", 0.25f}})), inputs);
  const auto softmax = run(in_domain("com.microsoft", make_node("QLinearSoftmax", 5, 1, {{"axis", std::int64_t{-1}}, {"opset", std::int64_t{13}}})), inputs);
  double sum = 0;
  for (int i = 0; i < 256; ++i) sum += std::exp((i - 128) * 0.05);
  for (int i = 0; i < 256; ++i) {
    const double v = (i - 128) * 0.05f;
    EXPECT_NEAR(sigmoid[0].at_as_double(i), to_code(1 / (1 + std::exp(-v)), 1.0 / 256, 0, DType::kU8), 1e-9) << i;
    EXPECT_NEAR(leaky[0].at_as_double(i), to_code(v < 0 ? v * 0.25 : v, 1.0 / 256, 0, DType::kU8), 1e-9) << i;
    EXPECT_NEAR(softmax[0].at_as_double(i), to_code(std::exp(v) / sum, 1.0 / 256, 0, DType::kU8), 1) << i;
  }
}

TEST(Borders, ThereAndBack) {
  std::mt19937 random(15);
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 70, 33, 40}, Shape{3, 4, 9}}) {
    const Tensor x = testing::random_tensor(shape, random);
    const Tensor scale = Tensor::scalar<float>(0.01f), zero = code(DType::kU8, 120);
    const auto plain = run(make_node("QuantizeLinear", 3, 1), {x, scale, zero});
    const auto turned = run(in_domain("narrow", make_node("ToCodes", 3, 1)), {x, scale, zero});
    EXPECT_EQ(turned[0].shape().back(), shape[1]);
    const auto back = run(in_domain("narrow", make_node("Layout", 1, 1)), {turned[0]});
    ASSERT_EQ(back[0].shape(), shape);
    EXPECT_EQ(back[0].to_int64(), plain[0].to_int64());
    const auto again = run(in_domain("narrow", make_node("Layout", 1, 1, {{"to_channels_last", std::int64_t{1}}})), {plain[0]});
    EXPECT_EQ(again[0].to_int64(), turned[0].to_int64());
    const auto real = run(make_node("DequantizeLinear", 3, 1), {plain[0], scale, zero});
    const auto real_turned = run(in_domain("narrow", make_node("FromCodes", 3, 1)), {turned[0], scale, zero});
    EXPECT_EQ(real_turned[0].to_float(), real[0].to_float());
  }
}

TEST(QMaxPool, TakesTheLargestCodeOfTheWindow) {
  std::mt19937 random(16);
  for (DType dtype : {DType::kU8, DType::kS8}) {
    const Tensor x = random_codes(dtype, {1, 6, 6, 2}, random);
    const auto y = run(in_domain("narrow", make_node("QMaxPool", 1, 1, {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 0, 0}}})), {x});
    ASSERT_EQ(y[0].shape(), (Shape{1, 3, 3, 2}));
    for (int i = 0; i < 18; ++i) {
      double best = -1000;
      for (int a = -1; a < 2; ++a) {
        for (int b = -1; b < 2; ++b) {
          const int h = i / 6 * 2 + a, w = i / 2 % 3 * 2 + b;
          if (h >= 0 && w >= 0) best = std::max(best, x.at_as_double((h * 6 + w) * 2 + i % 2));
        }
      }
      EXPECT_EQ(y[0].at_as_double(i), best);
    }
  }
}

}  // namespace
}  // namespace narrow::operators
