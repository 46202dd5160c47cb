#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

struct Case {
  Shape x, w;  // x [N, C, …]; w [M, C/g, …], transposed [C, M/g, …]
  std::int64_t group = 1;
  Ints strides, dilations, pads, output_padding;
  bool bias = true, transposed = false;
};

std::int64_t pick(const Ints& values, std::size_t i, std::int64_t fallback) { return i < values.size() ? values[i] : fallback; }

// Both kinds by their definition, scattering in f64 from every (input, tap, output channel).
std::vector<double> oracle(const Case& c, const Tensor& x, const Tensor& w, const Tensor& b, const Shape& out) {
  const std::size_t rank = c.x.size() - 2;
  std::int64_t ins = 1, outs = 1, taps = 1;
  for (std::size_t i = 0; i < rank; ++i) { ins *= c.x[2 + i]; outs *= out[2 + i]; taps *= c.w[2 + i]; }
  const std::int64_t channels = c.x[1], filters = out[1], ic = channels / c.group, oc = filters / c.group;
  std::vector<double> y(static_cast<std::size_t>(out[0] * filters * outs));
  for (std::int64_t n = 0; n < out[0]; ++n)
    for (std::int64_t m = 0; m < filters; ++m) {
      for (std::int64_t o = 0; o < outs; ++o) y[(n * filters + m) * outs + o] = b.defined() ? b.data<float>()[m] : 0.0;
      const std::int64_t g = m / oc;
      for (std::int64_t k = 0; k < ic; ++k)
        for (std::int64_t i = 0; i < ins; ++i)
          for (std::int64_t t = 0; t < taps; ++t)
            for (std::int64_t o = 0; o < outs; ++o) {
              std::int64_t ri = i, rt = t, ro = o;
              bool meets = true;
              for (std::size_t d = rank; d-- > 0;) {
                const std::int64_t pi = ri % c.x[2 + d], pt = rt % c.w[2 + d], po = ro % out[2 + d];
                ri /= c.x[2 + d]; rt /= c.w[2 + d]; ro /= out[2 + d];
                const std::int64_t s = pick(c.strides, d, 1), l = pick(c.dilations, d, 1), p = pick(c.pads, d, 0);
                meets = meets && (c.transposed ? pi * s + pt * l - p == po : po * s + pt * l - p == pi);
              }
              if (!meets) continue;
              const std::int64_t row = c.transposed ? (g * ic + k) * oc + m % oc : m * ic + k;
              y[(n * filters + m) * outs + o] += static_cast<double>(x.data<float>()[(n * channels + g * ic + k) * ins + i]) * w.data<float>()[row * taps + t];
            }
    }
  return y;
}

// The same convolution in domain "narrow": data channels-last, a residual added, then each activation.
void check_channels_last(graph::Node node, std::vector<Tensor> inputs, const std::vector<double>& want, const Shape& shape) {
  std::mt19937 random(8);
  const Tensor residual = random_tensor(shape, random);
  inputs[0] = channels_last(inputs[0]);
  inputs.push_back(channels_last(residual));
  node.domain = "narrow";
  node.inputs = {0, 1, 2, 3};
  node.set("channels_last", std::int64_t{1});
  const std::tuple<const char*, float, float, double (*)(double)> activations[] = {
      {"", 0.0f, 0.0f, [](double v) { return v; }},
      {"relu", 0.1f, 0.0f, [](double v) { return v < 0 ? 0.1 * v : v; }},
      {"clip", -0.5f, 0.75f, [](double v) { return std::clamp(v, -0.5, 0.75); }},
      {"swish", 1.0f, 0.0f, [](double v) { return v / (1 + std::exp(-v)); }},
      {"sigmoid", 0.0f, 0.0f, [](double v) { return 1 / (1 + std::exp(-v)); }},
      {"tanh", 0.0f, 0.0f, [](double v) { return std::tanh(v); }},
      {"hard_swish", 0.0f, 0.0f, [](double v) { return v * std::clamp(v / 6 + 0.5, 0.0, 1.0); }},
  };
  for (const auto& [name, alpha, beta, function] : activations) {
    node.set("activation", std::string(name));
    node.set("alpha", alpha);
    node.set("beta", beta);
    auto y = run_node(node, inputs);
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    Tensor expected = *Tensor::create(DType::kF32, shape);
    for (std::size_t i = 0; i < want.size(); ++i) expected.mutable_data<float>()[i] = static_cast<float>(function(want[i] + residual.data<float>()[i]));
    expected = channels_last(expected);
    ASSERT_EQ((*y)[0].shape(), expected.shape());
    for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR((*y)[0].data<float>()[i], expected.data<float>()[i], 3e-5) << name << " at " << i;
  }
  std::vector<graph::Type> types;
  for (const Tensor& t : inputs) types.push_back(t.defined() ? graph::Type::of(t) : graph::Type());
  auto inferred = infer_node(node, types);
  ASSERT_TRUE(inferred.ok()) << inferred.error().to_string();
  EXPECT_EQ((*inferred)[0].static_shape(), channels_last(residual).shape());
}

void check(const Case& c, const Shape& expected_shape) {
  SCOPED_TRACE("x " + to_string(c.x) + " w " + to_string(c.w) + " group " + std::to_string(c.group));
  std::mt19937 random(7);
  const Tensor x = random_tensor(c.x, random), w = random_tensor(c.w, random);
  const Tensor b = c.bias ? random_tensor({expected_shape[1]}, random) : Tensor();
  Attributes attributes = {{"group", c.group}};
  if (!c.strides.empty()) attributes.emplace_back("strides", c.strides);
  if (!c.dilations.empty()) attributes.emplace_back("dilations", c.dilations);
  if (!c.pads.empty()) attributes.emplace_back("pads", c.pads);
  if (!c.output_padding.empty()) attributes.emplace_back("output_padding", c.output_padding);
  const graph::Node node = make_node(c.transposed ? "ConvTranspose" : "Conv", 3, 1, attributes);
  auto y = run_node(node, {x, w, b});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  ASSERT_EQ((*y)[0].shape(), expected_shape);
  const std::vector<double> want = oracle(c, x, w, b, expected_shape);
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR((*y)[0].data<float>()[i], want[i], 2e-5) << "at " << i;
  if (!c.transposed) check_channels_last(node, {x, w, b}, want, expected_shape);
  graph::Node bare = node;
  if (!c.bias) bare.inputs.resize(2);
  auto types = infer_node(bare, {graph::Type::of(x), graph::Type::of(w), b.defined() ? graph::Type::of(b) : graph::Type()});
  ASSERT_TRUE(types.ok()) << types.error().to_string();
  EXPECT_EQ((*types)[0].static_shape(), expected_shape);
}

TEST(Conv, MatchesItsDefinition) {
  check({.x = {2, 3, 8, 9}, .w = {5, 3, 3, 3}}, {2, 5, 6, 7});
  check({.x = {1, 16, 7, 7}, .w = {32, 16, 1, 1}}, {1, 32, 7, 7});
  check({.x = {1, 16, 7, 7}, .w = {32, 16, 1, 1}, .strides = {2, 2}, .bias = false}, {1, 32, 4, 4});
  check({.x = {1, 4, 9, 8}, .w = {6, 2, 3, 2}, .group = 2, .strides = {2, 1}, .pads = {1, 0, 2, 1}}, {1, 6, 5, 8});
  check({.x = {1, 8, 9, 9}, .w = {8, 1, 3, 3}, .group = 8, .pads = {1, 1, 1, 1}}, {1, 8, 9, 9});
  check({.x = {2, 6, 9, 9}, .w = {12, 1, 5, 3}, .group = 6, .strides = {2, 2}, .pads = {2, 1, 2, 1}}, {2, 12, 5, 5});
  check({.x = {1, 3, 15, 15}, .w = {4, 3, 3, 3}, .strides = {3, 2}, .dilations = {2, 4}, .pads = {1, 2, 3, 4}}, {1, 4, 5, 7});
  check({.x = {2, 4, 30}, .w = {3, 4, 5}, .strides = {2}, .dilations = {3}, .pads = {4, 1}}, {2, 3, 12});
  check({.x = {1, 2, 5, 6, 7}, .w = {4, 2, 3, 2, 3}, .strides = {2, 1, 2}, .pads = {1, 1, 1, 1, 0, 1}}, {1, 4, 3, 6, 4});
  check({.x = {1, 64, 1}, .w = {32, 64, 1}, .bias = false}, {1, 32, 1});  // shapes that fit both layouts
  check({.x = {1, 32, 1, 1}, .w = {16, 32, 1, 1}}, {1, 16, 1, 1});
  check({.x = {1, 64, 6, 5}, .w = {1, 64, 1, 1}}, {1, 1, 6, 5});
  check({.x = {1, 16, 6, 5}, .w = {1, 16, 3, 3}, .pads = {1, 1, 1, 1}}, {1, 1, 6, 5});
  check({.x = {1, 1, 6, 5}, .w = {16, 1, 3, 3}, .pads = {1, 1, 1, 1}}, {1, 16, 6, 5});
  check({.x = {1, 1, 6, 1}, .w = {1, 1, 3, 1}}, {1, 1, 4, 1});
  check({.x = {1, 2, 3, 4, 3, 3}, .w = {2, 2, 2, 2, 1, 3}}, {1, 2, 2, 3, 3, 1});  // rank 4: beyond oneDNN
}

TEST(ConvTranspose, MatchesItsDefinition) {
  check({.x = {1, 3, 4, 5}, .w = {3, 2, 3, 3}, .transposed = true}, {1, 2, 6, 7});
  check({.x = {2, 4, 4, 5}, .w = {4, 3, 3, 2}, .group = 2, .strides = {2, 3}, .pads = {1, 0, 1, 1}, .transposed = true}, {2, 6, 7, 13});
  check({.x = {1, 2, 4, 4}, .w = {2, 3, 3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}, .output_padding = {1, 1}, .transposed = true}, {1, 3, 8, 8});
  check({.x = {1, 2, 4, 4}, .w = {2, 3, 2, 2}, .strides = {3, 3}, .dilations = {2, 2}, .output_padding = {2, 1}, .transposed = true}, {1, 3, 14, 13});
  check({.x = {1, 2, 9}, .w = {2, 3, 4}, .strides = {2}, .bias = false, .transposed = true}, {1, 3, 20});
  check({.x = {1, 2, 3, 3, 3}, .w = {2, 2, 2, 3, 2}, .strides = {2, 1, 1}, .transposed = true}, {1, 2, 6, 5, 4});
  check({.x = {1, 4, 5, 5}, .w = {4, 1, 3, 3}, .group = 4, .strides = {2, 2}, .transposed = true}, {1, 4, 11, 11});
}

// Both layouts describe this data alike, and both run in one process.
TEST(Conv, LayoutsThatLookAlikeStayApart) {
  std::mt19937 random(4);
  const Tensor x = random_tensor({1, 512, 1}, random), w = random_tensor({256, 512, 1}, random);
  graph::Node node = make_node("Conv", 2, 1);
  auto first = run_node(node, {x, w});
  node.domain = "narrow";
  node.set("channels_last", std::int64_t{1});
  auto last = run_node(node, {channels_last(x), w});
  ASSERT_TRUE(first.ok() && last.ok());
  for (std::int64_t i = 0; i < 256; ++i) ASSERT_NEAR((*last)[0].data<float>()[i], (*first)[0].data<float>()[i], 1e-4);
}

TEST(Conv, AutoPad) {
  std::mt19937 random(1);
  const Tensor x = random_tensor({1, 1, 5, 5}, random), w = random_tensor({1, 1, 2, 4}, random);
  const auto run = [&](Attributes attributes) { return run_node(make_node("Conv", 2, 1, attributes), {x, w}); };
  const auto equal = [](const Result<std::vector<Tensor>>& a, const Result<std::vector<Tensor>>& b) {
    ASSERT_TRUE(a.ok() && b.ok());
    ASSERT_EQ((*a)[0].shape(), (*b)[0].shape());
    EXPECT_EQ((*a)[0].to_float(), (*b)[0].to_float());
  };
  // Stride 2 over 5 gives 3; heights need 1 row of padding, widths 3.
  equal(run({{"auto_pad", "SAME_UPPER"}, {"strides", Ints{2, 2}}}), run({{"pads", Ints{0, 1, 1, 2}}, {"strides", Ints{2, 2}}}));
  equal(run({{"auto_pad", "SAME_LOWER"}, {"strides", Ints{2, 2}}}), run({{"pads", Ints{1, 2, 0, 1}}, {"strides", Ints{2, 2}}}));
  equal(run({{"auto_pad", "VALID"}, {"strides", Ints{2, 1}}}), run({{"strides", Ints{2, 1}}}));
}

TEST(ConvTranspose, OutputShapeDecidesThePads) {
  std::mt19937 random(1);
  const Tensor x = random_tensor({1, 1, 3, 3}, random), w = random_tensor({1, 2, 3, 3}, random);
  const auto asked = run_node(make_node("ConvTranspose", 2, 1, {{"strides", Ints{3, 2}}, {"output_shape", Ints{8, 6}}}), {x, w});
  const auto padded = run_node(make_node("ConvTranspose", 2, 1, {{"strides", Ints{3, 2}}, {"pads", Ints{1, 1, 0, 0}}}), {x, w});
  const auto larger = run_node(make_node("ConvTranspose", 2, 1, {{"strides", Ints{3, 2}}, {"output_shape", Ints{10, 8}}}), {x, w});
  ASSERT_TRUE(asked.ok() && padded.ok() && larger.ok());
  EXPECT_EQ((*asked)[0].shape(), (Shape{1, 2, 8, 6}));
  EXPECT_EQ((*asked)[0].to_float(), (*padded)[0].to_float());
  EXPECT_EQ((*larger)[0].shape(), (Shape{1, 2, 10, 8}));
  EXPECT_EQ((*larger)[0].data<float>()[9 * 8 + 7], 0.0f);  // beyond what any input reaches
}

TEST(Conv, HalvesAreComputedInF32) {
  std::mt19937 random(3);
  const Tensor x = random_tensor({1, 2, 5, 5}, random), w = random_tensor({3, 2, 3, 3}, random);
  const auto halve = [](const Tensor& t) {
    Tensor half = *Tensor::create(DType::kF16, t.shape());
    for (std::int64_t i = 0; i < t.size(); ++i) half.mutable_data<base::Float16>()[i] = base::to_float16(t.data<float>()[i]);
    return half;
  };
  const auto full = run_node(make_node("Conv", 2, 1), {x, w}), half = run_node(make_node("Conv", 2, 1), {halve(x), halve(w)});
  ASSERT_TRUE(full.ok() && half.ok());
  ASSERT_EQ((*half)[0].dtype(), DType::kF16);
  for (std::int64_t i = 0; i < (*full)[0].size(); ++i) EXPECT_NEAR((*half)[0].to_float()[i], (*full)[0].to_float()[i], 5e-3);
}

TEST(Conv, UnknownDimensionsStayUnknown) {
  using graph::Dim;
  using graph::Type;
  const Type x = Type::tensor(DType::kF32, {Dim("N"), Dim(3), Dim("H"), Dim()});
  const Type w = Type::tensor(DType::kF32, {Dim(8), Dim(3), Dim(3), Dim(3)});
  auto same = infer_node(make_node("Conv", 2, 1, {{"pads", Ints{1, 1, 1, 1}}}), {x, w});
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(graph::to_string((*same)[0]), "f32[N,8,H,?]");
  auto halved = infer_node(make_node("Conv", 2, 1, {{"strides", Ints{2, 2}}}), {x, w});
  ASSERT_TRUE(halved.ok());
  EXPECT_EQ(graph::to_string((*halved)[0]), "f32[N,8,?,?]");
  auto nothing = infer_node(make_node("Conv", 2, 1), {Type(), Type()});
  EXPECT_TRUE(nothing.ok());
}

TEST(Conv, NonsenseIsNamed) {
  using graph::Type;
  const Type x = Type::tensor(DType::kF32, {1, 4, 5, 5}), w = Type::tensor(DType::kF32, {6, 4, 3, 3});
  const auto message = [&](const Attributes& attributes, const Type& source, const Type& weight) {
    auto found = infer_node(make_node("Conv", 2, 1, attributes), {source, weight});
    return found.ok() ? std::string() : found.error().code() == ErrorCode::kCorrupt ? found.error().to_string() : "wrong code";
  };
  EXPECT_EQ(message({}, x, w), "");
  EXPECT_NE(message({{"group", std::int64_t{0}}}, x, w).find("group is 0"), std::string::npos);
  EXPECT_NE(message({{"group", std::int64_t{4}}}, x, w).find("4 groups"), std::string::npos);
  EXPECT_NE(message({{"strides", Ints{0, 1}}}, x, w).find("strides holds 0"), std::string::npos);
  EXPECT_NE(message({{"strides", Ints{1}}}, x, w).find("strides has 1 values"), std::string::npos);
  EXPECT_NE(message({{"pads", Ints{-1, 0, 0, 0}}}, x, w).find("pads holds -1"), std::string::npos);
  EXPECT_NE(message({{"pads", Ints{1, 1}}}, x, w).find("pads has 2 values"), std::string::npos);
  EXPECT_NE(message({{"dilations", Ints{3, 1}}}, x, w).find("spans 7 positions"), std::string::npos);
  EXPECT_NE(message({{"kernel_shape", Ints{2, 3}}}, x, w).find("kernel_shape is [2,3]"), std::string::npos);
  EXPECT_NE(message({{"auto_pad", "SOMEHOW"}}, x, w).find("SOMEHOW"), std::string::npos);
  EXPECT_NE(message({}, x, Type::tensor(DType::kF32, {6, 3, 3, 3})).find("4 channels"), std::string::npos);
  EXPECT_NE(message({}, Type::tensor(DType::kF32, {4, 5}), w).find("rank 2"), std::string::npos);
  // The same shapes at run time, where types were not known.
  std::mt19937 random(1);
  EXPECT_FALSE(run_node(make_node("Conv", 2, 1), {random_tensor({1, 4, 2, 5}, random), random_tensor({6, 4, 3, 3}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("Conv", 2, 1), {random_tensor({1, 5, 5, 5}, random), random_tensor({6, 4, 3, 3}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("Conv", 3, 1), {random_tensor({1, 4, 5, 5}, random), random_tensor({6, 4, 3, 3}, random), random_tensor({5}, random)}).ok());
}

}  // namespace
}  // namespace narrow::operators
