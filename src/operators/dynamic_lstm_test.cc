#include <gtest/gtest.h>

#include <cmath>

#include "operators/run_node.h"

namespace narrow::operators {
namespace {

using testing::make_node;
using testing::random_tensor;
using testing::run_node;

// The 8-bit LSTM stays near the f32 one of the same (dequantized) weights, in every direction and length.
TEST(DynamicQuantizeLstm, FollowsTheFloatOne) {
  std::mt19937 random(21);
  constexpr std::int64_t kSteps = 5, kBatch = 2, kInput = 6, kHidden = 4;
  for (const char* direction : {"forward", "reverse", "bidirectional"}) {
    for (bool per_channel : {false, true}) {
      const std::int64_t d = std::string(direction) == "bidirectional" ? 2 : 1, gates = 4 * kHidden;
      const auto weight = [&](std::int64_t k, Tensor& codes, Tensor& scale, Tensor& zero, Tensor& real) {
        codes = *Tensor::create(DType::kS8, {d, k, gates});
        for (std::int8_t& c : codes.mutable_data<std::int8_t>()) c = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
        const Shape shape = per_channel ? Shape{d, gates} : Shape{d};
        scale = random_tensor(shape, random, 0.002f, 0.006f);
        zero = *Tensor::create(DType::kS8, shape);
        real = *Tensor::create(DType::kF32, {d, gates, k});  // the float operator keeps it transposed
        for (std::int64_t i = 0; i < d; ++i) {
          for (std::int64_t g = 0; g < gates; ++g) {
            const float s = scale.data<float>()[per_channel ? i * gates + g : i];
            for (std::int64_t j = 0; j < k; ++j) real.mutable_data<float>()[(i * gates + g) * k + j] = codes.data<std::int8_t>()[(i * k + j) * gates + g] * s;
          }
        }
      };
      Tensor w, w_scale, w_zero, w_real, r, r_scale, r_zero, r_real;
      weight(kInput, w, w_scale, w_zero, w_real);
      weight(kHidden, r, r_scale, r_zero, r_real);
      const Tensor x = random_tensor({kSteps, kBatch, kInput}, random), b = random_tensor({d, 8 * kHidden}, random);
      const Tensor lengths = Tensor::from<std::int32_t>({2}, {5, 3});
      const Tensor h = random_tensor({d, kBatch, kHidden}, random), c = random_tensor({d, kBatch, kHidden}, random);
      const testing::Attributes attributes = {{"direction", std::string(direction)}, {"hidden_size", kHidden}};
      auto want = run_node(make_node("LSTM", 7, 3, attributes), {x, w_real, r_real, b, lengths, h, c});
      graph::Node node = make_node("DynamicQuantizeLSTM", 12, 3, attributes);
      node.domain = "com.microsoft";
      auto got = run_node(node, {x, w, r, b, lengths, h, c, {}, w_scale, w_zero, r_scale, r_zero});
      ASSERT_TRUE(want.ok()) << want.error().to_string();
      ASSERT_TRUE(got.ok()) << got.error().to_string();
      for (int o = 0; o < 3; ++o) {
        ASSERT_EQ((*got)[o].shape(), (*want)[o].shape());
        double worst = 0, most = 0;
        for (std::int64_t i = 0; i < (*got)[o].size(); ++i) {
          worst = std::max(worst, std::fabs((*got)[o].at_as_double(i) - (*want)[o].at_as_double(i)));
          most = std::max(most, std::fabs((*want)[o].at_as_double(i)));
        }
        EXPECT_LT(worst, 0.02) << direction << " output " << o;
        EXPECT_GT(most, 0.1);
      }
    }
  }
}

}  // namespace
}  // namespace narrow::operators
