#include "quantizers/smoothing/smoothing.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "operators/infer.h"
#include "quantizers/preparation.h"
#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;

// LayerNormalization whose scale makes two of 32 channels sixty times larger than the others, then two products; with
// `residual`, a sum reads it too.
Model outliers(bool residual) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 10, 32});
  Tensor scale = random_tensor({32}, 1, 0.5f, 1.5f), w1 = random_tensor({32, 16}, 3), w2 = random_tensor({32, 32}, 4);
  for (int c : {5, 20}) scale.mutable_data<float>()[c] *= 60;
  for (int c : {5, 20}) {
    for (int o = 0; o < 16; ++o) w1.mutable_data<float>()[c * 16 + o] /= 60;
    for (int o = 0; o < 32; ++o) w2.mutable_data<float>()[c * 32 + o] /= 60;
  }
  const ValueId n = b.node("LayerNormalization", "norm", {x, b.constant("scale", scale), b.weight("shift", {32}, 2)}, {{"axis", std::int64_t{-1}}});
  const ValueId one = b.node("MatMul", "one", {n, b.constant("w1", w1)});
  ValueId two = b.node("MatMul", "two", {n, b.constant("w2", w2)});
  if (residual) two = b.node("Add", "sum", {two, n});
  return b.finish({one, two});
}

double error_of(const Model& model, const Recipe& recipe, const datasets::Dataset& data) {
  const auto outcome = quantize(model, recipe, &data);
  if (!outcome.ok()) return 1e9;
  return relative_error((*run_model(model.graph, *data.read(0)))[0], (*run_model(outcome->model.graph, *data.read(0)))[0]);
}

TEST(Smoothing, RecoversAModelOfPlantedOutliers) {
  for (const bool residual : {false, true}) {
    const Model model = outliers(residual);
    const RandomData data(model.graph, 8);
    Recipe recipe;
    const double before = error_of(model, recipe, data);
    recipe.smoothing = 0.5;
    const double after = error_of(model, recipe, data);
    EXPECT_LT(after, before / 4) << before;
    EXPECT_LT(after, 0.02);
  }
}

TEST(Smoothing, KeepsWhatTheFloatModelComputesAndFoldsWhereItCan) {
  for (const bool residual : {false, true}) {
    const Model model = outliers(residual);
    Model changed = prepare_model(model)->model;
    const RandomData data(model.graph, 4);
    const auto smoothed = smooth_activations(changed.graph, 0.5, data, {});
    ASSERT_TRUE(smoothed.ok());
    EXPECT_EQ(*smoothed, 1);
    EXPECT_EQ(count_ops(changed.graph, "Div"), residual ? 1 : 0);
    const auto before = run_model(model.graph, *data.read(0)), after = run_model(changed.graph, *data.read(0));
    for (std::size_t i = 0; i < 2; ++i) EXPECT_LT(relative_error((*before)[i], (*after)[i]), 1e-5);
  }
}

TEST(Smoothing, LeavesActivationsWithoutOutliers) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 10, 32});
  const Model model = b.finish({b.node("MatMul", "y", {x, b.weight("w", {32, 16})})});
  Model changed = prepare_model(model)->model;
  const RandomData data(model.graph, 4);
  EXPECT_EQ(*smooth_activations(changed.graph, 0.5, data, {}), 0);
}

}  // namespace
}  // namespace narrow::quantizers
