#include <gtest/gtest.h>

#include <cmath>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

struct Case {
  Shape x;
  Ints kernel, strides, dilations, pads;
  bool ceil_mode = false;
};
const Case kCases[] = {
    {{2, 3, 9, 8}, {3, 2}, {}, {}, {}},
    {{1, 4, 13, 13}, {3, 3}, {2, 2}, {}, {0, 0, 0, 0}, true},
    {{1, 4, 12, 14}, {3, 3}, {2, 2}, {}, {0, 0, 0, 0}, true},
    {{1, 2, 7, 7}, {3, 3}, {2, 2}, {}, {1, 1, 1, 1}, true},
    {{1, 2, 6, 9}, {2, 3}, {3, 4}, {}, {1, 2, 1, 0}, true},
    {{2, 2, 11}, {4}, {3}, {2}, {2, 1}},
    {{1, 2, 10, 9}, {3, 2}, {1, 2}, {2, 3}, {2, 1, 0, 2}},
    {{1, 1, 5, 6, 7}, {2, 3, 2}, {2, 1, 3}, {}, {1, 1, 0, 0, 1, 1}},
    {{1, 1, 2, 2, 3, 3}, {1, 2, 2, 2}, {}, {}, {}},
};

Attributes attributes_of(const Case& c) {
  Attributes attributes = {{"kernel_shape", c.kernel}, {"ceil_mode", std::int64_t{c.ceil_mode}}};
  if (!c.strides.empty()) attributes.emplace_back("strides", c.strides);
  if (!c.dilations.empty()) attributes.emplace_back("dilations", c.dilations);
  if (!c.pads.empty()) attributes.emplace_back("pads", c.pads);
  return attributes;
}

std::int64_t pick(const Ints& values, std::size_t i, std::int64_t fallback) { return i < values.size() ? values[i] : fallback; }

struct Window {
  std::vector<std::int64_t> inside;  // positions in the plane, in order
  std::int64_t in_padded = 0;        // taps within the padded input
};

// Every window of one plane, by enumeration, with the output's spatial shape.
std::vector<Window> windows_of(const Case& c, Shape& out) {
  const std::size_t rank = c.kernel.size();
  out.clear();
  std::int64_t outs = 1, taps = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t begin = pick(c.pads, d, 0), end = pick(c.pads, rank + d, 0), stride = pick(c.strides, d, 1);
    const double room = static_cast<double>(c.x[2 + d] + begin + end - (c.kernel[d] - 1) * pick(c.dilations, d, 1) - 1) / static_cast<double>(stride);
    std::int64_t size = static_cast<std::int64_t>(c.ceil_mode ? std::ceil(room) : std::floor(room)) + 1;
    if ((size - 1) * stride >= c.x[2 + d] + begin) --size;
    out.push_back(size);
    outs *= size;
    taps *= c.kernel[d];
  }
  std::vector<Window> windows(static_cast<std::size_t>(outs));
  for (std::int64_t o = 0; o < outs; ++o)
    for (std::int64_t t = 0; t < taps; ++t) {
      std::int64_t ro = o, rt = t, at = 0, scale = 1;
      bool inside = true, padded = true;
      for (std::size_t d = rank; d-- > 0;) {
        const std::int64_t position = ro % out[d] * pick(c.strides, d, 1) + rt % c.kernel[d] * pick(c.dilations, d, 1) - pick(c.pads, d, 0);
        inside = inside && position >= 0 && position < c.x[2 + d];
        padded = padded && position < c.x[2 + d] + pick(c.pads, rank + d, 0);
        at += position * scale;
        scale *= c.x[2 + d];
        ro /= out[d];
        rt /= c.kernel[d];
      }
      if (inside) windows[o].inside.push_back(at);
      if (padded) ++windows[o].in_padded;
    }
  return windows;
}

TEST(Pool, MatchesEnumeratedWindows) {
  std::mt19937 random(11);
  for (const Case& c : kCases) {
    SCOPED_TRACE(to_string(c.x) + " kernel " + to_string(c.kernel));
    const Tensor x = random_tensor(c.x, random);
    Shape spatial;
    const std::vector<Window> windows = windows_of(c, spatial);
    const std::int64_t planes = c.x[0] * c.x[1], size = x.size() / planes, outs = static_cast<std::int64_t>(windows.size());
    Shape shape = {c.x[0], c.x[1]};
    shape.insert(shape.end(), spatial.begin(), spatial.end());

    const graph::Node max_node = make_node("MaxPool", 1, 2, attributes_of(c));
    auto both = run_node(max_node, {x});
    auto max = run_node(make_node("MaxPool", 1, 1, attributes_of(c)), {x});
    Attributes counting = attributes_of(c), norm = attributes_of(c);
    counting.emplace_back("count_include_pad", std::int64_t{1});
    norm.emplace_back("p", std::int64_t{3});
    auto mean = run_node(make_node("AveragePool", 1, 1, attributes_of(c)), {x});
    auto padded_mean = run_node(make_node("AveragePool", 1, 1, counting), {x});
    auto lp = run_node(make_node("LpPool", 1, 1, norm), {x});
    for (const auto* result : {&both, &max, &mean, &padded_mean, &lp}) {
      ASSERT_TRUE(result->ok()) << result->error().to_string();
      ASSERT_EQ((**result)[0].shape(), shape);
    }
    for (std::int64_t p = 0; p < planes; ++p)
      for (std::int64_t o = 0; o < outs; ++o) {
        const float* plane = x.data<float>().data() + p * size;
        std::int64_t best = -1;
        double sum = 0, cubes = 0;
        for (std::int64_t at : windows[o].inside) {
          if (best < 0 || plane[at] > plane[best]) best = at;
          sum += plane[at];
          cubes += std::pow(std::fabs(plane[at]), 3.0);
        }
        ASSERT_GE(best, 0);
        const std::int64_t i = p * outs + o;
        ASSERT_EQ((*both)[0].data<float>()[i], plane[best]);
        ASSERT_EQ((*max)[0].data<float>()[i], plane[best]);
        ASSERT_EQ((*both)[1].data<std::int64_t>()[i], p * size + best);
        ASSERT_NEAR((*mean)[0].data<float>()[i], sum / static_cast<double>(windows[o].inside.size()), 1e-5);
        ASSERT_NEAR((*padded_mean)[0].data<float>()[i], sum / static_cast<double>(windows[o].in_padded), 1e-5);
        ASSERT_NEAR((*lp)[0].data<float>()[i], std::cbrt(cubes), 1e-5);
      }
    auto types = infer_node(max_node, {graph::Type::of(x)});
    ASSERT_TRUE(types.ok());
    EXPECT_EQ((*types)[0].static_shape(), shape);
    EXPECT_EQ((*types)[1].dtype, DType::kS64);
  }
}

TEST(Pool, ChannelsLastAgrees) {
  std::mt19937 random(12);
  for (Case c : kCases)
    for (std::int64_t channels : {1, 3, 16, 37}) {
      c.x[1] = channels;
      const Tensor x = random_tensor(c.x, random);
      const auto agree = [&](const char* op, Attributes attributes) {
        SCOPED_TRACE(std::string(op) + " " + to_string(c.x));
        graph::Node node = make_node(op, 1, 1, attributes);
        auto want = run_node(node, {x});
        node.domain = "narrow";
        node.set("channels_last", std::int64_t{1});
        auto found = run_node(node, {channels_last(x)});
        ASSERT_TRUE(want.ok() && found.ok()) << found.error().to_string();
        const Tensor expected = channels_last((*want)[0]);
        ASSERT_EQ((*found)[0].shape(), expected.shape());
        for (std::int64_t i = 0; i < expected.size(); ++i) ASSERT_NEAR((*found)[0].data<float>()[i], expected.data<float>()[i], 1e-5);
        auto types = infer_node(node, {graph::Type::of(channels_last(x))});
        ASSERT_TRUE(types.ok());
        EXPECT_EQ((*types)[0].static_shape(), expected.shape());
      };
      Attributes counting = attributes_of(c);
      counting.emplace_back("count_include_pad", std::int64_t{1});
      agree("MaxPool", attributes_of(c));
      agree("AveragePool", attributes_of(c));
      agree("AveragePool", counting);
      agree("GlobalAveragePool", {});
      agree("GlobalMaxPool", {});
    }
}

TEST(MaxPool, CodesAndColumnMajorIndices) {
  const Tensor codes = Tensor::from<std::int8_t>({1, 1, 2, 3}, {-5, -7, -9, -128, -6, -3});
  auto y = run_node(make_node("MaxPool", 1, 2, {{"kernel_shape", Ints{2, 2}}, {"storage_order", std::int64_t{1}}}), {codes});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  EXPECT_EQ((*y)[0].to_int64(), (Ints{-5, -3}));
  EXPECT_EQ((*y)[1].to_int64(), (Ints{0, 5}));  // row 1, column 2 of 2 rows: 2 * 2 + 1
}

TEST(MaxPool, SamePadding) {
  const Tensor x = Tensor::from<float>({1, 1, 5}, {1, 5, 2, 4, 3});
  auto upper = run_node(make_node("MaxPool", 1, 1, {{"kernel_shape", Ints{2}}, {"auto_pad", "SAME_UPPER"}}), {x});
  auto lower = run_node(make_node("MaxPool", 1, 1, {{"kernel_shape", Ints{2}}, {"auto_pad", "SAME_LOWER"}}), {x});
  ASSERT_TRUE(upper.ok() && lower.ok());
  EXPECT_EQ((*upper)[0].to_float(), (std::vector<float>{5, 5, 4, 4, 3}));
  EXPECT_EQ((*lower)[0].to_float(), (std::vector<float>{1, 5, 5, 4, 4}));
}

TEST(GlobalPool, ReducesEachPlane) {
  std::mt19937 random(2);
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 2, 33}, Shape{1, 2, 2, 3, 4}, Shape{2, 5, 1, 1}}) {
    const Tensor x = random_tensor(shape, random);
    auto mean = run_node(make_node("GlobalAveragePool", 1, 1), {x}), max = run_node(make_node("GlobalMaxPool", 1, 1), {x}), lp = run_node(make_node("GlobalLpPool", 1, 1), {x});
    ASSERT_TRUE(mean.ok() && max.ok() && lp.ok());
    const std::int64_t planes = shape[0] * shape[1], size = x.size() / planes;
    Shape want(shape.size(), 1);
    want[0] = shape[0];
    want[1] = shape[1];
    ASSERT_EQ((*mean)[0].shape(), want);
    for (std::int64_t p = 0; p < planes; ++p) {
      double sum = 0, squares = 0;
      float largest = -2;
      for (std::int64_t i = 0; i < size; ++i) {
        const float v = x.data<float>()[p * size + i];
        sum += v;
        squares += static_cast<double>(v) * v;
        largest = std::max(largest, v);
      }
      EXPECT_NEAR((*mean)[0].data<float>()[p], sum / static_cast<double>(size), 1e-6);
      EXPECT_EQ((*max)[0].data<float>()[p], largest);
      EXPECT_NEAR((*lp)[0].data<float>()[p], std::sqrt(squares), 1e-6);
    }
  }
}

TEST(Pool, NonsenseIsNamed) {
  const graph::Type x = graph::Type::tensor(DType::kF32, {1, 1, 4, 4});
  const auto fails = [&](const char* op, const Attributes& attributes) {
    auto found = infer_node(make_node(op, 1, 1, attributes), {x});
    return !found.ok() && found.error().code() == ErrorCode::kCorrupt;
  };
  EXPECT_TRUE(fails("MaxPool", {}));
  EXPECT_TRUE(fails("MaxPool", {{"kernel_shape", Ints{2}}}));
  EXPECT_TRUE(fails("MaxPool", {{"kernel_shape", Ints{0, 2}}}));
  EXPECT_TRUE(fails("AveragePool", {{"kernel_shape", Ints{5, 2}}}));
  EXPECT_TRUE(fails("AveragePool", {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{0, 1}}}));
  EXPECT_TRUE(fails("AveragePool", {{"kernel_shape", Ints{2, 2}}, {"pads", Ints{0, -1, 0, 0}}}));
  EXPECT_TRUE(fails("LpPool", {{"kernel_shape", Ints{2, 2}}, {"p", std::int64_t{0}}}));
  EXPECT_TRUE(fails("MaxPool", {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{std::int64_t{1} << 40, 1}}}));
  std::mt19937 random(1);
  EXPECT_FALSE(run_node(make_node("MaxPool", 1, 1, {{"kernel_shape", Ints{2, 2}}}), {random_tensor({1, 1, 1, 4}, random)}).ok());
  EXPECT_FALSE(run_node(make_node("GlobalAveragePool", 1, 1), {random_tensor({4, 4}, random)}).ok());
}

}  // namespace
}  // namespace narrow::operators
