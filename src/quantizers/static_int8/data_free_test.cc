#include "quantizers/static_int8/data_free.h"

#include <gtest/gtest.h>

#include "quantizers/small_models.h"
#include "quantizers/static_int8/static_int8.h"

namespace narrow::quantizers {
namespace {

using namespace testing;
using Ints = std::vector<std::int64_t>;

Tensor filled(std::int64_t count, float value) { return Tensor::from<float>({count}, std::span<const float>(std::vector<float>(static_cast<std::size_t>(count), value))); }

// Conv → BatchNormalization → Relu → Conv, the first one's weights such that inputs of mean 0 and deviation 1 give what the
// BatchNormalization has learned.
Model learned(float mean, float deviation, const char* between = "BatchNormalization") {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 2, 8, 8});
  ValueId y = b.node("Conv", "first", {x, b.constant("w1", Tensor::from<float>({2, 2, 1, 1}, {1, 0, 0, 1})), b.constant("b1", filled(2, 0))});
  if (std::string(between) == "BatchNormalization") {
    y = b.node("BatchNormalization", "norm", {y, b.constant("gamma", filled(2, deviation)), b.constant("beta", filled(2, mean)), b.constant("mean", filled(2, 0)), b.constant("var", filled(2, 1))});
  } else {
    y = b.node(between, "between", {y});
  }
  y = b.node("Relu", "relu", {y});
  return b.finish({b.node("Conv", "second", {y, b.weight("w2", {4, 2, 3, 3}, 5), b.weight("b2", {4}, 6)})});
}

TEST(WithoutData, RangesFollowFromBatchNormalization) {
  const Model model = learned(1, 0.5f);
  const Model prepared = prepare_model(model)->model;
  const graph::Graph& graph = prepared.graph;
  const ValueId made = graph.nodes[0].output(0), cut = graph.nodes[1].output(0);
  const std::string first = graph.value(made).name, relu = graph.value(cut).name;
  const auto table = static_int8::statistics_without_data(graph, {"x", first, relu}, batch_norm_moments(model.graph));
  ASSERT_TRUE(table.ok()) << table.error().message();
  EXPECT_NEAR(table->find(first)->seen.min, -2, 1e-5);
  EXPECT_NEAR(table->find(first)->seen.max, 4, 1e-5);
  EXPECT_NEAR(table->find(relu)->seen.min, 0, 1e-6);
  EXPECT_NEAR(table->find(relu)->seen.max, 4, 1e-5);
  EXPECT_NEAR(table->find(first)->channel_means()[0], 1, 1e-5);
  EXPECT_NEAR(table->find(relu)->channel_means()[1], 1.0042, 1e-3);  // of a normal value cut two deviations below its mean
  EXPECT_NEAR(table->find("x")->seen.max, 3, 1e-6);
}

TEST(WithoutData, QuantizesAboutAsWellAsWithData) {
  const Model model = learned(0.2f, 1);
  Recipe recipe;
  const auto blind = quantize(model, recipe);
  ASSERT_TRUE(blind.ok()) << blind.error().message();
  EXPECT_EQ(find_layer(*blind, "second")->decision, Decision::kQuantized);
  const RandomData data(model.graph, 4);
  const auto sample = *data.read(0);
  EXPECT_LT(relative_error((*run_model(model.graph, sample))[0], (*run_model(blind->model.graph, sample))[0]), 0.05);
}

TEST(WithoutData, IsRefusedWhereNothingIsKnown) {
  EXPECT_FALSE(has_statistics(learned(0, 1, "Relu")));
  EXPECT_FALSE(quantize(learned(0, 1, "Relu"), Recipe{}).ok());
  const Model model = learned(0, 1);
  const auto table = static_int8::statistics_without_data(prepare_model(learned(0, 1, "Tanh"))->model.graph, {"between"}, {});
  ASSERT_FALSE(table.ok());
  EXPECT_EQ(table.error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace narrow::quantizers
