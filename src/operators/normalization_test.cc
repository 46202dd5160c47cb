#include <gtest/gtest.h>

#include <cmath>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using namespace testing;

float at(const Tensor& t, std::int64_t i) { return t.data<float>()[static_cast<std::size_t>(i)]; }

struct Moments {
  double mean = 0, variance = 0, mean_square = 0;
};
template <typename F>
Moments moments(std::int64_t count, F&& element) {
  Moments m;
  for (std::int64_t i = 0; i < count; ++i) m.mean += element(i) / static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) {
    m.variance += (element(i) - m.mean) * (element(i) - m.mean) / static_cast<double>(count);
    m.mean_square += element(i) * element(i) / static_cast<double>(count);
  }
  return m;
}

TEST(BatchNormalization, ScalesEachChannel) {
  std::mt19937 random(1);
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{3, 7}, Shape{1, 3, 9}}) {
    const std::int64_t channels = shape[1], inner = [&] { std::int64_t n = 1; for (std::size_t i = 2; i < shape.size(); ++i) n *= shape[i]; return n; }();
    const Tensor x = random_tensor(shape, random), s = random_tensor({channels}, random), b = random_tensor({channels}, random), m = random_tensor({channels}, random), v = random_tensor({channels}, random, 0.1f, 2.0f);
    auto y = run_node(make_node("BatchNormalization", 5, 1, {{"epsilon", 0.01f}}), {x, s, b, m, v});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t c = i / inner % channels;
      ASSERT_NEAR(at((*y)[0], i), (at(x, i) - at(m, c)) / std::sqrt(at(v, c) + 0.01) * at(s, c) + at(b, c), 1e-5);
    }
    EXPECT_FALSE(run_node(make_node("BatchNormalization", 5, 1), {x, s, b, m, random_tensor({channels + 1}, random)}).ok());
  }
}

TEST(BatchNormalization, TrainingUsesTheBatchAndMovesWhatIsRemembered) {
  std::mt19937 random(2);
  const Tensor x = random_tensor({3, 2, 5}, random), s = random_tensor({2}, random), b = random_tensor({2}, random), m = random_tensor({2}, random), v = random_tensor({2}, random, 0.1f, 2.0f);
  auto y = run_node(make_node("BatchNormalization", 5, 3, {{"training_mode", std::int64_t{1}}, {"momentum", 0.8f}}), {x, s, b, m, v});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  for (std::int64_t c = 0; c < 2; ++c) {
    const auto element = [&](std::int64_t i) { return at(x, (i / 5 * 2 + c) * 5 + i % 5); };
    const Moments own = moments(15, element);
    EXPECT_NEAR(at((*y)[1], c), 0.8 * at(m, c) + 0.2 * own.mean, 1e-5);
    EXPECT_NEAR(at((*y)[2], c), 0.8 * at(v, c) + 0.2 * own.variance, 1e-5);
    for (std::int64_t i = 0; i < 15; ++i) {
      EXPECT_NEAR(at((*y)[0], (i / 5 * 2 + c) * 5 + i % 5), (element(i) - own.mean) / std::sqrt(own.variance + 1e-5) * at(s, c) + at(b, c), 1e-4);
    }
  }
}

TEST(GroupNormalization, NormalizesGroupsOfChannels) {
  std::mt19937 random(2);
  const Tensor x = random_tensor({2, 6, 3, 5}, random, 3.0f, 5.0f), s = random_tensor({6}, random), b = random_tensor({6}, random);
  for (std::int64_t groups : {1, 2, 3, 6}) {
    const bool instance = groups == 6;  // InstanceNormalization is the case of one channel a group
    for (const graph::Node& node : {make_node("GroupNormalization", 3, 1, {{"num_groups", groups}}), make_node(instance ? "InstanceNormalization" : "GroupNormalization", 3, 1, {{"num_groups", groups}})}) {
      auto y = run_node(node, {x, s, b});
      ASSERT_TRUE(y.ok()) << y.error().to_string();
      const std::int64_t size = 6 / groups * 15;
      for (std::int64_t row = 0; row < 2 * groups; ++row) {
        const Moments m = moments(size, [&](std::int64_t i) { return static_cast<double>(at(x, row * size + i)); });
        for (std::int64_t i = 0; i < size; ++i) {
          const std::int64_t index = row * size + i, c = index / 15 % 6;
          ASSERT_NEAR(at((*y)[0], index), (at(x, index) - m.mean) / std::sqrt(m.variance + 1e-5) * at(s, c) + at(b, c), 1e-4);
        }
      }
    }
  }
  EXPECT_FALSE(run_node(make_node("GroupNormalization", 3, 1, {{"num_groups", std::int64_t{4}}}), {x, s, b}).ok());
  EXPECT_FALSE(infer_node(make_node("GroupNormalization", 3, 1), {graph::Type(), graph::Type(), graph::Type()}).ok());
}

TEST(LayerNormalization, NormalizesTrailingAxes) {
  std::mt19937 random(3);
  const Tensor x = random_tensor({2, 3, 4, 5}, random, -2.0f, 3.0f);
  for (std::int64_t axis : {-1, 1, 2, 3, 0}) {
    const std::size_t first = static_cast<std::size_t>(axis < 0 ? axis + 4 : axis);
    Shape row(x.shape().begin() + static_cast<std::ptrdiff_t>(first), x.shape().end());
    std::int64_t size = 1;
    for (std::int64_t d : row) size *= d;
    const Tensor s = random_tensor(row, random), b = random_tensor(row, random);
    auto y = run_node(make_node("LayerNormalization", 3, 3, {{"axis", axis}}), {x, s, b});
    auto rms = run_node(make_node("RMSNormalization", 2, 1, {{"axis", axis}}), {x, s});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    ASSERT_TRUE(rms.ok()) << rms.error().to_string();
    for (std::int64_t r = 0; r < x.size() / size; ++r) {
      const Moments m = moments(size, [&](std::int64_t i) { return static_cast<double>(at(x, r * size + i)); });
      EXPECT_NEAR(at((*y)[1], r), m.mean, 1e-5);
      EXPECT_NEAR(at((*y)[2], r), 1 / std::sqrt(m.variance + 1e-5), 1e-4);
      for (std::int64_t i = 0; i < size; ++i) {
        ASSERT_NEAR(at((*y)[0], r * size + i), (at(x, r * size + i) - m.mean) / std::sqrt(m.variance + 1e-5) * at(s, i) + at(b, i), 1e-4);
        ASSERT_NEAR(at((*rms)[0], r * size + i), at(x, r * size + i) / std::sqrt(m.mean_square + 1e-5) * at(s, i), 1e-4);
      }
    }
    auto types = infer_node(make_node("LayerNormalization", 3, 3, {{"axis", axis}}), {graph::Type::of(x), graph::Type::of(s), graph::Type::of(b)});
    ASSERT_TRUE(types.ok());
    EXPECT_EQ((*types)[1].static_shape(), (*y)[1].shape());
  }
  // A scale that stretches over the row.
  const Tensor wide = random_tensor({3, 1, 5}, random);
  auto y = run_node(make_node("RMSNormalization", 2, 1, {{"axis", std::int64_t{1}}}), {x, wide});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  const Moments m = moments(60, [&](std::int64_t i) { return static_cast<double>(at(x, i)); });
  EXPECT_NEAR(at((*y)[0], 27), at(x, 27) / std::sqrt(m.mean_square + 1e-5) * at(wide, 7), 1e-4);  // (1, 1, 2) -> (1, 0, 2)
  EXPECT_FALSE(run_node(make_node("RMSNormalization", 2, 1), {x, random_tensor({4}, random)}).ok());
  EXPECT_FALSE(infer_node(make_node("LayerNormalization", 2, 1, {{"axis", std::int64_t{4}}}), {graph::Type::of(x), graph::Type()}).ok());
}

TEST(LpNormalization, UnitLength) {
  const Tensor x = Tensor::from<float>({2, 3}, {3, 0, -4, 0, 0, 0});
  auto two = run_node(make_node("LpNormalization", 1, 1), {x}), one = run_node(make_node("LpNormalization", 1, 1, {{"p", std::int64_t{1}}, {"axis", std::int64_t{0}}}), {x});
  ASSERT_TRUE(two.ok() && one.ok());
  EXPECT_EQ((*two)[0].to_float(), (std::vector<float>{0.6f, 0, -0.8f, 0, 0, 0}));
  EXPECT_EQ((*one)[0].to_float(), (std::vector<float>{1, 0, -1, 0, 0, 0}));
}

TEST(LRN, SumsNeighbouringChannels) {
  std::mt19937 random(4);
  const Tensor x = random_tensor({2, 5, 3, 2}, random);
  for (std::int64_t size : {1, 2, 3, 4, 9}) {
    auto y = run_node(make_node("LRN", 1, 1, {{"size", size}, {"alpha", 0.5f}, {"beta", 0.6f}, {"bias", 2.0f}}), {x});
    ASSERT_TRUE(y.ok());
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t c = i / 6 % 5, base = i - c * 6;
      double squares = 0;
      for (std::int64_t k = std::max<std::int64_t>(0, c - (size - 1) / 2); k <= std::min<std::int64_t>(4, c + size / 2); ++k) squares += std::pow(at(x, base + k * 6), 2.0);
      ASSERT_NEAR(at((*y)[0], i), at(x, i) / std::pow(2.0 + 0.5 / static_cast<double>(size) * squares, 0.6), 1e-5);
    }
  }
  EXPECT_FALSE(infer_node(make_node("LRN", 1, 1), {graph::Type::of(x)}).ok());
}

TEST(MeanVarianceNormalization, OverNamedAxes) {
  std::mt19937 random(5);
  const Tensor x = random_tensor({2, 3, 2, 4}, random);
  auto y = run_node(make_node("MeanVarianceNormalization", 1, 1), {x});
  ASSERT_TRUE(y.ok());
  for (std::int64_t c = 0; c < 3; ++c) {
    const auto index = [&](std::int64_t i) { return (i / 8 * 3 + c) * 8 + i % 8; };
    const Moments m = moments(16, [&](std::int64_t i) { return static_cast<double>(at(x, index(i))); });
    for (std::int64_t i = 0; i < 16; ++i) ASSERT_NEAR(at((*y)[0], index(i)), (at(x, index(i)) - m.mean) / std::sqrt(m.variance), 1e-5);
  }
}

TEST(Softmax, AlongEveryAxis) {
  std::mt19937 random(6);
  const Tensor x = random_tensor({3, 4, 5}, random, -20.0f, 20.0f);
  const std::int64_t steps[] = {20, 5, 1};
  for (std::int64_t axis : {0, 1, 2, -1}) {
    const std::size_t a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
    const std::int64_t n = x.shape()[a], step = steps[a];
    auto soft = run_node(make_node("Softmax", 1, 1, {{"axis", axis}}), {x}), log = run_node(make_node("LogSoftmax", 1, 1, {{"axis", axis}}), {x}), hard = run_node(make_node("Hardmax", 1, 1, {{"axis", axis}}), {x});
    ASSERT_TRUE(soft.ok() && log.ok() && hard.ok());
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t first = i - i / step % n * step;
      double sum = 0;
      float largest = -100;
      for (std::int64_t k = 0; k < n; ++k) {
        sum += std::exp(static_cast<double>(at(x, first + k * step)) - at(x, i));
        largest = std::max(largest, at(x, first + k * step));
      }
      ASSERT_NEAR(at((*soft)[0], i), 1 / sum, 1e-6);
      ASSERT_NEAR(at((*log)[0], i), -std::log(sum), 1e-5);
      ASSERT_EQ(at((*hard)[0], i), at(x, i) == largest ? 1.0f : 0.0f);
    }
  }
  const Tensor large = Tensor::from<float>({1, 3}, {1000, 1000, -1000});
  auto y = run_node(make_node("Softmax", 1, 1), {large});
  EXPECT_EQ((*y)[0].to_float(), (std::vector<float>{0.5f, 0.5f, 0}));
  EXPECT_FALSE(infer_node(make_node("Softmax", 1, 1, {{"axis", std::int64_t{2}}}), {graph::Type::of(large)}).ok());
}

}  // namespace
}  // namespace narrow::operators
