#include "quantizers/equalization/equalization.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "operators/infer.h"
#include "quantizers/equalization/pairs.h"
#include "quantizers/preparation.h"
#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;
using Ints = std::vector<std::int64_t>;

// Conv → activation → Conv; channel c of the first is made factor(c) times larger and taken back by the second.
Model unbalanced(const std::string& activation, std::int64_t second_group = 1, float (*factor_of)(int) = [](int c) { return std::pow(4.0f, static_cast<float>(c) - 4); }) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  Tensor w1 = random_tensor({8, 4, 3, 3}, 1), b1 = random_tensor({8}, 2), w2 = random_tensor({8, 8 / second_group, 3, 3}, 3);
  for (int c = 0; c < 8; ++c) {
    const float factor = factor_of(c);
    for (int k = 0; k < 36; ++k) w1.mutable_data<float>()[c * 36 + k] *= factor;
    b1.mutable_data<float>()[c] *= factor;
    for (int o = 0; o < 8; ++o) {
      if (second_group == 1) for (int k = 0; k < 9; ++k) w2.mutable_data<float>()[(o * 8 + c) * 9 + k] /= factor;
      else if (o == c) for (int k = 0; k < 9; ++k) w2.mutable_data<float>()[o * 9 + k] /= factor;
    }
  }
  ValueId y = b.node("Conv", "first", {x, b.constant("w1", w1), b.constant("b1", b1)});
  if (!activation.empty()) {
    const Attributes attributes = activation == "MaxPool" ? Attributes{{"kernel_shape", Ints{2, 2}}} : Attributes{};
    y = b.node(activation, "between", {y}, attributes);
  }
  return b.finish({b.node("Conv", "second", {y, b.constant("w2", w2), b.weight("b2", {8}, 4)}, {{"group", second_group}})});
}

double error_of(const Model& model, const Recipe& recipe, const datasets::Dataset& data) {
  const auto outcome = quantize(model, recipe, &data);
  if (!outcome.ok()) return 1e9;  // its layers would compute on noise
  double worst = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    worst = std::max(worst, relative_error((*run_model(model.graph, *data.read(i)))[0], (*run_model(outcome->model.graph, *data.read(i)))[0]));
  }
  return worst;
}

Model prepared(const Model& model) { return prepare_model(model)->model; }

TEST(Equalization, RecoversAModelOfPlantedImbalance) {
  for (const char* activation : {"Relu", "", "MaxPool", "LeakyRelu"}) {
    for (std::int64_t group : {1, 8}) {
      SCOPED_TRACE(fmt::format("{} group {}", activation, group));
      const Model model = unbalanced(activation, group);
      const RandomData data(model.graph, 6);
      Recipe recipe;
      const double before = error_of(model, recipe, data);
      recipe.equalization = true;
      const double after = error_of(model, recipe, data);
      EXPECT_LT(after, before / 3) << before;
      EXPECT_LT(after, 0.05);
    }
  }
}

TEST(Equalization, ScalesOnlyWhereNoiseFalls) {
  Model even = prepared(unbalanced("Relu", 1, [](int) { return 1.0f; })), uneven = prepared(unbalanced("Relu"));
  const std::vector<std::string> names = equalized_values(even.graph);
  ASSERT_EQ(names.size(), 1u);
  ChannelsSeen same{std::vector<float>(8, 1.0f), std::vector<double>(8, 0.1)}, apart = same;
  for (int c = 0; c < 8; ++c) {
    apart.extent[c] = std::pow(4.0f, static_cast<float>(c) - 4);
    apart.power[c] = 0.1 * apart.extent[c] * apart.extent[c];
  }
  const Model before = prepared(unbalanced("Relu", 1, [](int) { return 1.0f; }));
  EXPECT_EQ(equalize_layers(even.graph, {{names[0], same}}, true), 0);
  EXPECT_EQ(equalize_layers(even.graph, {}, true), 0);  // nothing is known
  EXPECT_EQ(equalize_layers(uneven.graph, {{names[0], apart}}, true), 1);
  EXPECT_EQ(equalize_layers(uneven.graph, {{names[0], same}}, true), 0);  // it is even now
  const RandomData data(before.graph, 2);
  const Model plain = prepared(unbalanced("Relu"));
  EXPECT_LT(relative_error((*run_model(plain.graph, *data.read(0)))[0], (*run_model(uneven.graph, *data.read(0)))[0]), 1e-5);
}

TEST(Equalization, KeepsWhatTheFloatModelComputes) {
  for (const char* activation : {"Relu", "MaxPool", "LeakyRelu", ""}) {
    const Model model = prepared(unbalanced(activation));
    Model changed = prepared(unbalanced(activation));
    EXPECT_EQ(equalize_layers(changed.graph), 1);
    const RandomData data(model.graph, 3);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(relative_error((*run_model(model.graph, *data.read(i)))[0], (*run_model(changed.graph, *data.read(i)))[0]), 1e-5) << activation;
    }
    // Both sides of each channel have the same range afterwards.
    const auto pairs = equalization::find_pairs(changed.graph);
    const auto first = equalization::layout_of(changed.graph, changed.graph.nodes[pairs[0].first]), second = equalization::layout_of(changed.graph, changed.graph.nodes[pairs[0].second]);
    const auto a = equalization::output_extents(*first, *changed.graph.constant(changed.graph.nodes[pairs[0].first].inputs[1]));
    const auto b = equalization::input_extents(*second, *changed.graph.constant(changed.graph.nodes[pairs[0].second].inputs[1]));
    for (std::size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c] / b[c], 1, 0.05);
  }
}

TEST(Equalization, LeavesWhatOthersSeeOrWhatDoesNotCommute) {
  EXPECT_TRUE(equalization::find_pairs(prepared(unbalanced("Sigmoid")).graph).empty());
  EXPECT_TRUE(equalization::find_pairs(prepared(unbalanced("Tanh")).graph).empty());
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId y = b.node("Conv", "first", {x, b.weight("w1", {4, 4, 1, 1})});
  const ValueId z = b.node("Conv", "second", {y, b.weight("w2", {4, 4, 1, 1}, 2)});
  EXPECT_TRUE(equalization::find_pairs(prepared(b.finish({b.node("Add", "sum", {y, z})})).graph).empty());
}

// BatchNormalization with mean 5 and deviation 0.5: Relu never cuts.
TEST(HighBias, MovesIntoTheNextLayer) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 6, 6});
  ValueId y = b.node("Conv", "first", {x, b.weight("w1", {6, 4, 1, 1})});
  y = b.node("BatchNormalization", "bn", {y, b.constant("scale", Tensor::from<float>({6}, {.5f, .5f, .5f, .5f, .5f, .5f})),
                                         b.constant("shift", Tensor::from<float>({6}, {5, 5, 5, 0, 0, 0})), b.constant("mean", Tensor::from<float>({6}, {0, 0, 0, 0, 0, 0})),
                                         b.constant("var", Tensor::from<float>({6}, {1, 1, 1, 1, 1, 1}))});
  y = b.node("Relu", "relu", {y});
  const Model model = b.finish({b.node("Conv", "second", {y, b.weight("w2", {5, 6, 1, 1}, 2), b.weight("b2", {5}, 3)})});
  const auto moments = batch_norm_moments(model.graph);
  ASSERT_TRUE(moments.contains("bn") && moments.contains("relu"));
  EXPECT_NEAR(moments.at("relu").mean[0], 5, 1e-3);
  EXPECT_NEAR(moments.at("relu").mean[5], 0.5 / std::sqrt(2 * M_PI), 1e-6);  // half a normal
  EXPECT_NEAR(moments.at("relu").deviation[5], 0.5 * std::sqrt(0.5 - 0.5 / M_PI), 1e-6);
  Model changed = prepared(model);
  EXPECT_EQ(absorb_high_biases(changed.graph, moments), 3);
  const RandomData data(model.graph, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_LT(relative_error((*run_model(model.graph, *data.read(i)))[0], (*run_model(changed.graph, *data.read(i)))[0]), 1e-5);
  }
  // And the range between them is smaller.
  const auto widest = [](const Model& m, const datasets::Dataset& d) {
    Graph graph = m.graph.clone();
    graph.outputs = {graph.find_value("relu")};
    float most = 0;
    for (float v : (*run_model(graph, *d.read(0)))[0].to_float()) most = std::max(most, v);
    return most;
  };
  EXPECT_LT(widest(changed, data), widest(prepared(model), data) - 2);
}

TEST(SplitChannels, KeepsWhatTheModelComputesAndHalvesTheLargestChannels) {
  Model model = prepared(unbalanced("Relu"));
  Model changed = prepared(unbalanced("Relu"));
  EXPECT_EQ(split_channels(changed.graph, 0.25), 2);
  ASSERT_TRUE(operators::infer_types(changed.graph).ok());
  const RandomData data(model.graph, 3);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(relative_error((*run_model(model.graph, *data.read(i)))[0], (*run_model(changed.graph, *data.read(i)))[0]), 1e-5);
  }
  EXPECT_EQ(changed.graph.constant(changed.graph.nodes[0].inputs[1])->shape()[0], 10);
  const Model outliers = unbalanced("Relu", 1, [](int c) { return c < 2 ? 6.0f : 1.0f; });
  Recipe recipe;
  recipe.bias_correction = false;
  recipe.target = "tensorrt";  // no rounding of the output
  const double before = error_of(outliers, recipe, data);
  recipe.split_channels = 0.25;
  EXPECT_LT(error_of(outliers, recipe, data), before * 0.8);
}

}  // namespace
}  // namespace narrow::quantizers
