#include "quantizers/mixed_precision/mixed_precision.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quantizers/mixed_precision/assignment.h"
#include "quantizers/mixed_precision/sensitivity.h"
#include "quantizers/small_models.h"
#include "quantizers/static_int8/static_int8.h"

namespace narrow::quantizers {
namespace {

using namespace testing;

// Four layers; the weights of the third have one huge value a channel, which leaves the others no codes.
Model planted() {
  ModelBuilder b;
  ValueId x = b.input("x", {1, 8, 8, 8});
  for (int i = 0; i < 4; ++i) {
    Tensor w = random_tensor({8, 8, 3, 3}, 10 + i, i == 2 ? -0.05f : -0.3f, i == 2 ? 0.05f : 0.3f);
    if (i == 2) {
      // Channel 7 of the input is zero: its huge weights do not matter in float, and take the others' codes away.
      for (int o = 0; o < 8; ++o) w.mutable_data<float>()[(o * 8 + 7) * 9 + 4] = 4.0f;
    }
    if (i == 1) {
      for (int k = 0; k < 72; ++k) w.mutable_data<float>()[7 * 72 + k] = 0;
    }
    const std::string name = "conv" + std::to_string(i);
    x = b.node("Conv", name, {x, b.constant(name + "_w", std::move(w)), b.weight(name + "_b", {8}, 30 + i)},
               {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
    if (i < 3) x = b.node("Relu", "relu" + std::to_string(i), {x});
  }
  b.graph().value(b.graph().find_value("conv1_b")).constant->mutable_data<float>()[7] = 0;
  return b.finish({x});
}

double noise_of(const Model& model, const Outcome& outcome, const datasets::Dataset& data) {
  double noise = 0, signal = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::vector<float> a = (*run_model(model.graph, *data.read(i)))[0].to_float(), b = (*run_model(outcome.model.graph, *data.read(i)))[0].to_float();
    for (std::size_t k = 0; k < a.size(); ++k) noise += (a[k] - b[k]) * (a[k] - b[k]), signal += a[k] * a[k];
  }
  return noise / signal;
}

TEST(Sensitivity, NamesTheLayerWhoseWeightsCostMost) {
  const Model model = planted();
  const RandomData data(model.graph, 6);
  Request request;
  request.model = &model;
  request.data = &data;
  const auto prepared = prepare_static(request);
  const auto outcome = quantize_static(request);
  ASSERT_TRUE(prepared.ok() && outcome.ok());
  const auto found = measure_sensitivity(prepared->model.graph, outcome->model.graph, data, {});
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  const auto worst = std::max_element(found->sources.begin(), found->sources.end(), [](const auto& a, const auto& b) { return a.noise < b.noise; });
  EXPECT_EQ(worst->node, "conv2");
  // By itself it makes most of the noise, and all of them together about what the model has.
  double sum = 0;
  for (const NoiseSource& source : found->sources) sum += source.noise;
  EXPECT_GT(worst->noise, sum / 2);
  EXPECT_NEAR(found->together, noise_of(model, *outcome, data), found->together * 0.3);
  EXPECT_NEAR(sum, found->together, found->together * 0.5);
}

TEST(Sensitivity, OfOneSourceIsWhatTheModelLosesByItAlone) {
  // One layer, tensorrt: weights and the input are the only roundings.
  ModelBuilder b;
  const ValueId x = b.input("x", {2, 32});
  const Model model = b.finish({b.node("Gemm", "fc", {x, b.weight("w", {32, 16}), b.weight("c", {16}, 3)})});
  const RandomData data(model.graph, 5);
  Request request;
  request.model = &model;
  request.data = &data;
  request.recipe.target = "tensorrt";
  const auto prepared = prepare_static(request);
  const auto outcome = quantize_static(request);
  ASSERT_TRUE(prepared.ok() && outcome.ok());
  SensitivityOptions options;
  const auto found = measure_sensitivity(prepared->model.graph, outcome->model.graph, data, options);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->sources.size(), 2u);
  // Uniform inputs in [-1, 1]: steps of 1/127 make noise of step²/12 against a power of 1/3.
  EXPECT_EQ(found->sources[1].value, "x");
  EXPECT_NEAR(found->sources[1].noise, 1.0 / 127 / 127 / 12 * 3, 1e-5);
  EXPECT_NEAR(found->sources[0].noise + found->sources[1].noise, found->together, found->together * 0.2);
}

TEST(MixedPrecision, LeavesTheGuiltyLayerInFloatAndTheOthersInIntegers) {
  const Model model = planted();
  const RandomData data(model.graph, 6);
  Recipe recipe;
  const auto plain = quantize(model, recipe, &data);
  ASSERT_TRUE(plain.ok());
  const double before = noise_of(model, *plain, data);
  recipe.method = "mixed";
  recipe.noise_budget = before / 5;
  const auto mixed = quantize(model, recipe, &data);
  ASSERT_TRUE(mixed.ok()) << mixed.error().to_string();
  EXPECT_LE(noise_of(model, *mixed, data), recipe.noise_budget * 1.2);
  EXPECT_EQ(find_layer(*mixed, "conv2")->decision, Decision::kFloat);
  int integers = 0;
  for (const char* name : {"conv0", "conv1", "conv3"}) integers += find_layer(*mixed, name)->decision == Decision::kQuantized;
  EXPECT_GE(integers, 2);
  EXPECT_LT(find_layer(*mixed, "conv2")->weight_bytes_after, find_layer(*mixed, "conv2")->weight_bytes_before);
  // What is recorded replays it without the search.
  const auto again = quantize(model, *mixed->recipe, &data);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(noise_of(model, *again, data), noise_of(model, *mixed, data));
}

TEST(MixedPrecision, TheCurveFallsFromAllIntegersToNone) {
  const Model model = planted();
  const RandomData data(model.graph, 6);
  Recipe recipe;
  recipe.method = "mixed";
  recipe.noise_budget = 0;
  for (const char* prefer : {"latency", "size"}) {
    recipe.prefer = prefer;
    const auto mixed = quantize(model, recipe, &data);
    ASSERT_TRUE(mixed.ok());
    ASSERT_GE(mixed->frontier.size(), 3u);
    EXPECT_TRUE(mixed->frontier.front().lifted.empty());
    EXPECT_EQ(mixed->frontier.front().integer_share, 1);
    EXPECT_NEAR(mixed->frontier.back().integer_share, 0, 1e-6);
    EXPECT_NEAR(mixed->frontier.back().noise, 0, 1e-12);
    for (std::size_t i = 1; i < mixed->frontier.size(); ++i) {
      EXPECT_LE(mixed->frontier[i].noise, mixed->frontier[i - 1].noise + 1e-12);
      EXPECT_LT(mixed->frontier[i].integer_share, mixed->frontier[i - 1].integer_share);
      EXPECT_GE(mixed->frontier[i].weight_bytes, mixed->frontier[i - 1].weight_bytes);
    }
  }
}

TEST(MixedPrecision, StoresTheWeightsOfFloatLayersAsAsked) {
  const Model model = planted();
  const RandomData data(model.graph, 4);
  for (const auto& [as, bytes] : std::vector<std::pair<std::string, std::uint64_t>>{{"f32", 2304}, {"f16", 1152}, {"s8", 576}}) {
    Recipe recipe;
    Rule rule;
    rule.name_pattern = "conv0";
    rule.quantize = false;
    rule.float_weights = as;
    recipe.rules = {rule};
    const auto outcome = quantize(model, recipe, &data);
    ASSERT_TRUE(outcome.ok());
    std::uint64_t found = 0;
    for (const graph::Value& value : outcome->model.graph.values) {
      if (value.constant && value.name.starts_with("conv0_w") && value.constant->size() == 576) found += value.constant->bytes();
    }
    EXPECT_EQ(found, bytes) << as;
    EXPECT_LT(noise_of(model, *outcome, data), 1) << as;
  }
}

TEST(Frontier, KeepsOutWhatWasFloatBefore) {
  const auto layer = [](const char* name, Decision decision) {
    LayerDecision one;
    one.node = name;
    one.decision = decision;
    return one;
  };
  const std::vector<LayerDecision> before = {layer("a", Decision::kFloat), layer("b", Decision::kQuantized), layer("c", Decision::kFloat)};
  const std::vector<LayerDecision> now = {layer("a", Decision::kQuantized), layer("b", Decision::kQuantized), layer("c", Decision::kFolded)};
  const std::vector<Rule> rules = rules_against_return(before, now);
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_EQ(rules[0].name_pattern, "a");
  EXPECT_EQ(rules[0].quantize, false);
}

}  // namespace
}  // namespace narrow::quantizers
