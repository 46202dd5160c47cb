#include "quantizers/static_int8/reconstruction.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;
using Ints = std::vector<std::int64_t>;

// Inputs whose values go together: there rounding has something to gain.
class Correlated final : public datasets::Dataset {
 public:
  Correlated(const Graph& graph, std::size_t count) : data_(graph, count) {}
  std::size_t size() const override { return data_.size(); }
  bool labelled() const override { return false; }
  std::string describe() const override { return "correlated"; }
  Result<datasets::Sample> read(std::size_t index) const override {
    auto sample = data_.read(index);
    // Running means along the memory.
    std::span<float> x = sample->inputs[0].second.mutable_data<float>();
    for (std::size_t i = 1; i < x.size(); ++i) x[i] = 0.9f * x[i - 1] + 0.3f * x[i];
    return sample;
  }

 private:
  RandomData data_;
};

// Weights of few large values, which makes steps coarse; activations 8 bits all the same.
double noise_of(const Model& model, const std::string& rounding, const datasets::Dataset& data) {
  Recipe recipe;
  recipe.rounding = rounding;
  recipe.target = "tensorrt";
  const auto outcome = quantize(model, recipe, &data);
  if (!outcome.ok()) {
    ADD_FAILURE() << outcome.error().to_string();
    return 1e9;
  }
  double noise = 0;
  for (std::size_t i = 0; i < data.size(); ++i) noise += std::pow(relative_error((*run_model(model.graph, *data.read(i)))[0], (*run_model(outcome->model.graph, *data.read(i)))[0]), 2.0);
  return noise / static_cast<double>(data.size());
}

Tensor spiky(Shape shape) {
  Tensor w = random_tensor(std::move(shape), 3, -0.02f, 0.02f);
  const auto columns = w.size() / w.shape()[0];
  for (std::int64_t r = 0; r < w.shape()[0]; ++r) w.mutable_data<float>()[r * columns + r % columns] = 1.5f;
  return w;
}

TEST(Reconstruction, LosesLessThanRoundingToNearest) {
  std::vector<std::pair<std::string, Model>> models;
  for (std::int64_t group : {1, 2}) {
    for (std::int64_t stride : {1, 2}) {
      ModelBuilder b;
      const ValueId x = b.input("x", {1, 8, 12, 12});
      models.emplace_back(fmt::format("Conv group {} stride {}", group, stride),
                          b.finish({b.node("Conv", "y", {x, b.constant("w", spiky({16, 8 / group, 3, 3})), b.weight("c", {16}, 3)},
                                           {{"group", group}, {"strides", Ints{stride, stride}}, {"pads", Ints{1, 1, 1, 1}}})}));
    }
  }
  for (std::int64_t tb : {0, 1}) {
    ModelBuilder b;
    const ValueId x = b.input("x", {16, 64});
    Tensor w = spiky({24, 64});
    if (tb == 0) {
      Tensor t = *Tensor::create(DType::kF32, {64, 24});
      for (int i = 0; i < 24; ++i) for (int j = 0; j < 64; ++j) t.mutable_data<float>()[j * 24 + i] = w.data<float>()[i * 64 + j];
      w = t;
    }
    models.emplace_back(fmt::format("Gemm transB {}", tb), b.finish({b.node("Gemm", "y", {x, b.constant("w", w), b.weight("c", {24}, 3)}, {{"transB", tb}})}));
  }
  {
    ModelBuilder b;
    const ValueId x = b.input("x", {1, 4, 20});
    models.emplace_back("Conv 1-D", b.finish({b.node("Conv", "y", {x, b.constant("w", spiky({8, 4, 5})), b.weight("c", {8}, 3)}, {{"dilations", Ints{2}}})}));
  }
  for (const auto& [name, model] : models) {
    SCOPED_TRACE(name);
    const Correlated data(model.graph, 24);
    const double nearest = noise_of(model, "nearest", data), gptq = noise_of(model, "gptq", data), adaptive = noise_of(model, "adaptive", data);
    EXPECT_LT(gptq, nearest * 0.9);
    EXPECT_LT(adaptive, nearest * 0.8);
  }
}

TEST(Reconstruction, SeesTheRowsThatAConvolutionMultiplies) {
  // With the identity as weight of one tap, H's diagonal is the mean square of the shifted, padded input: computed here by hand.
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 1, 4, 4});
  const Model model = b.finish({b.node("Conv", "y", {x, b.weight("w", {1, 1, 3, 3})}, {{"pads", Ints{1, 1, 1, 1}}})});
  const RandomData data(model.graph, 1);
  const auto layer = layer_matrix(model.graph, 0);
  ASSERT_TRUE(layer.has_value());
  const auto statistics = layer_statistics(model.graph, {*layer}, data, {});
  ASSERT_TRUE(statistics.ok());
  const InputStatistics& seen = statistics->at(0).seen[0];
  EXPECT_EQ(seen.tokens, 16);
  const std::vector<float> in = data.read(0)->inputs[0].second.to_float();
  for (int tap_a = 0; tap_a < 9; ++tap_a) {
    for (int tap_b = 0; tap_b < 9; ++tap_b) {
      double sum = 0;
      const auto at = [&](int row, int column, int tap) {
        const int r = row + tap / 3 - 1, c = column + tap % 3 - 1;
        return r < 0 || r > 3 || c < 0 || c > 3 ? 0.0 : static_cast<double>(in[r * 4 + c]);
      };
      for (int row = 0; row < 4; ++row) for (int column = 0; column < 4; ++column) sum += at(row, column, tap_a) * at(row, column, tap_b);
      EXPECT_NEAR(seen.hessian[tap_a * 9 + tap_b], sum, 1e-4);
    }
  }
}

}  // namespace
}  // namespace narrow::quantizers
