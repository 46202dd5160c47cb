#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

double coordinate(const std::string& mode, double o, double in, double out, double scale, double begin, double end) {
  if (mode == "half_pixel") return (o + 0.5) / scale - 0.5;
  if (mode == "pytorch_half_pixel") return out > 1 ? (o + 0.5) / scale - 0.5 : 0;
  if (mode == "align_corners") return out == 1 ? 0 : o * (in - 1) / (scale * in - 1);
  if (mode == "asymmetric") return o / scale;
  if (mode == "half_pixel_symmetric") return in / 2 * (1 - out / (scale * in)) + (o + 0.5) / scale - 0.5;
  return out > 1 ? begin * (in - 1) + o * (end - begin) * (in - 1) / (out - 1) : 0.5 * (begin + end) * (in - 1);
}

struct Case {
  std::string mode, coordinates;
  Shape in, out;  // two dimensions
  bool antialias = false, exclude_outside = false;
  std::vector<float> roi;
};

double kernel(const Case& c, double distance) {
  const double x = std::fabs(distance), a = -0.5;
  if (c.mode == "linear") return std::max(0.0, 1 - x);
  if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
  return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
}

// One output pixel as a sum over all input pixels and a border around them, both axes at once, in f64.
double oracle(const Case& c, const Tensor& x, const Shape& o) {
  std::vector<double> weights[2];
  for (int d = 0; d < 2; ++d) {
    const double in = static_cast<double>(c.in[d]), out = static_cast<double>(c.out[d]), scale = out / in;
    const double at = coordinate(c.coordinates, static_cast<double>(o[d]), in, out, scale, c.roi.empty() ? 0 : c.roi[d], c.roi.empty() ? 1 : c.roi[2 + d]);
    if (c.coordinates == "tf_crop_and_resize" && (at < 0 || at > in - 1)) return 9;
    const double squeeze = c.antialias ? std::min(1.0, scale) : 1;
    weights[d].assign(static_cast<std::size_t>(c.in[d]), 0.0);
    double sum = 0;
    for (std::int64_t i = -40; i < c.in[d] + 40; ++i) {
      if (c.exclude_outside && (i < 0 || i >= c.in[d])) continue;
      const double weight = kernel(c, (static_cast<double>(i) - at) * squeeze);
      weights[d][static_cast<std::size_t>(std::clamp<std::int64_t>(i, 0, c.in[d] - 1))] += weight;
      sum += weight;
    }
    for (double& weight : weights[d]) weight /= sum;
  }
  double value = 0;
  for (std::int64_t i = 0; i < c.in[0]; ++i)
    for (std::int64_t j = 0; j < c.in[1]; ++j) value += weights[0][i] * weights[1][j] * x.data<float>()[i * c.in[1] + j];
  return value;
}

TEST(Resize, InterpolationMatchesItsDefinition) {
  std::mt19937 random(1);
  for (const char* mode : {"linear", "cubic"})
    for (const char* coordinates : {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"})
      for (const auto& [in, out] : {std::pair{Shape{4, 5}, Shape{8, 10}}, {Shape{4, 5}, Shape{7, 13}}, {Shape{9, 8}, Shape{4, 3}}, {Shape{6, 6}, Shape{1, 12}}, {Shape{5, 4}, Shape{5, 9}}})
        for (bool antialias : {false, true})
          for (bool exclude : {false, true}) {
            Case c = {mode, coordinates, in, out, antialias, exclude, {}};
            SCOPED_TRACE(::testing::Message() << mode << " " << coordinates << " " << to_string(in) << to_string(out) << antialias << exclude);
            if (c.coordinates == "tf_crop_and_resize") c.roi = {0.1f, -0.2f, 1.3f, 0.8f};
            const Tensor x = random_tensor(in, random);
            const graph::Node node = make_node("Resize", 4, 1, {{"mode", mode}, {"coordinate_transformation_mode", coordinates}, {"cubic_coeff_a", -0.5f}, {"antialias", std::int64_t{antialias}},
                                                                {"exclude_outside", std::int64_t{exclude}}, {"extrapolation_value", 9.0f}});
            const Tensor roi = c.roi.empty() ? Tensor() : Tensor::from<float>({4}, std::span<const float>(c.roi));
            auto y = run_node(node, {x, roi, Tensor(), Tensor::from<std::int64_t>({2}, {out[0], out[1]})});
            ASSERT_TRUE(y.ok()) << y.error().to_string();
            ASSERT_EQ((*y)[0].shape(), out);
            for (std::int64_t i = 0; i < out[0]; ++i)
              for (std::int64_t j = 0; j < out[1]; ++j) ASSERT_NEAR((*y)[0].data<float>()[i * out[1] + j], oracle(c, x, {i, j}), 2e-5) << i << "," << j;
          }
}

TEST(Resize, NearestRounding) {
  const Tensor x = Tensor::from<float>({5}, {0, 1, 2, 3, 4});
  const std::pair<const char*, std::function<double(double)>> rules[] = {
      {"round_prefer_floor", [](double v) { return std::ceil(v - 0.5); }},
      {"round_prefer_ceil", [](double v) { return std::floor(v + 0.5); }},
      {"floor", [](double v) { return std::floor(v); }},
      {"ceil", [](double v) { return std::ceil(v); }},
  };
  for (const auto& [rule, round] : rules)
    for (const char* coordinates : {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"})
      for (std::int64_t out : {1, 2, 4, 5, 8, 10, 20}) {
        auto y = run_node(make_node("Resize", 4, 1, {{"nearest_mode", rule}, {"coordinate_transformation_mode", coordinates}}), {x, Tensor(), Tensor(), Tensor::from<std::int64_t>({1}, {out})});
        ASSERT_TRUE(y.ok()) << y.error().to_string();
        for (std::int64_t o = 0; o < out; ++o) {
          const double at = coordinate(coordinates, static_cast<double>(o), 5, static_cast<double>(out), static_cast<double>(out) / 5, 0, 1);
          const double off = std::fabs(at * 2 - std::round(at * 2));
          if (off > 0 && off < 1e-4) continue;  // a tie that f32 decides
          EXPECT_EQ((*y)[0].data<float>()[o], std::clamp(round(at), 0.0, 4.0)) << rule << " " << coordinates << " " << out << " at " << o;
        }
      }
}

TEST(Resize, BytesRoundWithAntialiasingAndAreCutWithout) {
  const Tensor x = Tensor::from<std::uint8_t>({1, 1, 1, 4}, {1, 2, 3, 3});
  const Tensor scales = Tensor::from<float>({4}, {1, 1, 1, 0.5f});
  // Weights 3/7 3/7 1/7 and mirrored: 1.714 and 2.857; without antialiasing 1.5 and 3.
  for (std::int64_t antialias : {0, 1}) {
    auto y = run_node(make_node("Resize", 3, 1, {{"mode", "linear"}, {"antialias", antialias}}), {x, Tensor(), scales});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    EXPECT_EQ((*y)[0].to_int64(), antialias ? (Ints{2, 3}) : (Ints{1, 3}));
  }
}

TEST(Resize, NearestMovesAnyElementType) {
  const Tensor x = Tensor::from<std::uint8_t>({1, 1, 2, 2}, {1, 2, 3, 4});
  const Tensor scales = Tensor::from<float>({2}, {2, 1.5f});
  auto y = run_node(make_node("Resize", 3, 1, {{"axes", Ints{2, -1}}, {"nearest_mode", "floor"}, {"coordinate_transformation_mode", "asymmetric"}}), {x, Tensor(), scales});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  EXPECT_EQ((*y)[0].shape(), (Shape{1, 1, 4, 3}));
  EXPECT_EQ((*y)[0].to_int64(), (Ints{1, 1, 2, 1, 1, 2, 3, 3, 4, 3, 3, 4}));
}

TEST(Resize, KeepsTheAspectRatio) {
  std::mt19937 random(1);
  const Tensor x = random_tensor({1, 2, 10, 20}, random);
  const auto shape = [&](const char* policy) {
    auto y = run_node(make_node("Resize", 4, 1, {{"axes", Ints{2, 3}}, {"keep_aspect_ratio_policy", policy}}), {x, Tensor(), Tensor(), Tensor::from<std::int64_t>({2}, {15, 25})});
    return y.ok() ? (*y)[0].shape() : Shape{};
  };
  EXPECT_EQ(shape("stretch"), (Shape{1, 2, 15, 25}));
  EXPECT_EQ(shape("not_larger"), (Shape{1, 2, 13, 25}));
  EXPECT_EQ(shape("not_smaller"), (Shape{1, 2, 15, 30}));
}

TEST(Resize, TypesAndNonsense) {
  using graph::Dim;
  using graph::Type;
  const Type x = Type::tensor(DType::kF32, {Dim("N"), Dim(3), Dim(8), Dim("W")});
  const Tensor scales = Tensor::from<float>({4}, {1, 1, 2.5f, 2});
  auto types = infer_node(make_node("Resize", 3, 1), {x, Type(), Type()}, {Tensor(), Tensor::from<float>({0}, {}), scales});
  ASSERT_TRUE(types.ok()) << types.error().to_string();
  EXPECT_EQ(graph::to_string((*types)[0]), "f32[N,3,20,?]");
  const auto fails = [&](const Attributes& attributes, const Tensor& by) {
    auto found = infer_node(make_node("Resize", 3, 1, attributes), {x, Type(), Type()}, {Tensor(), Tensor::from<float>({0}, {}), by});
    return !found.ok() && found.error().code() == ErrorCode::kCorrupt;
  };
  EXPECT_FALSE(fails({}, scales));
  EXPECT_TRUE(fails({{"mode", "sharp"}}, scales));
  EXPECT_TRUE(fails({{"axes", Ints{4}}}, scales));
  EXPECT_TRUE(fails({{"axes", Ints{1, 1}}}, scales));
  EXPECT_TRUE(fails({}, Tensor::from<float>({2}, {1, 1})));
  EXPECT_TRUE(fails({}, Tensor::from<float>({4}, {1, 1, 0, 1})));
  EXPECT_TRUE(fails({}, Tensor::from<float>({4}, {1, 1, -1, 1})));
  EXPECT_TRUE(fails({}, Tensor::from<float>({4}, {1, 1, INFINITY, 1})));
  EXPECT_TRUE(fails({}, Tensor::from<float>({4}, {1, 1, NAN, 1})));
  EXPECT_TRUE(fails({}, Tensor::from<float>({4}, {1, 1, 1e30f, 1})));
  std::mt19937 random(1);
  EXPECT_FALSE(run_node(make_node("Resize", 4, 1), {random_tensor({2, 0}, random), Tensor(), Tensor(), Tensor::from<std::int64_t>({2}, {2, 2})}).ok());
  EXPECT_FALSE(run_node(make_node("Resize", 4, 1), {random_tensor({2, 2}, random), Tensor(), Tensor(), Tensor::from<std::int64_t>({2}, {2, -2})}).ok());
}

}  // namespace
}  // namespace narrow::operators
