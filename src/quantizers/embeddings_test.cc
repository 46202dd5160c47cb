#include "quantizers/embeddings.h"

#include <gtest/gtest.h>

#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;

constexpr std::int64_t kRows = 300, kWidth = 64, kLength = 5;

class TokenData final : public datasets::Dataset {
 public:
  std::size_t size() const override { return 8; }
  bool labelled() const override { return false; }
  std::string describe() const override { return "tokens"; }
  Result<datasets::Sample> read(std::size_t index) const override {
    Tensor ids = *Tensor::create(DType::kS64, {1, kLength});
    for (std::int64_t i = 0; i < kLength; ++i) ids.mutable_data<std::int64_t>()[i] = (static_cast<std::int64_t>(index) * 37 + i * 11) % kRows;
    datasets::Sample sample;
    sample.name = std::to_string(index);
    sample.inputs.emplace_back("ids", std::move(ids));
    return sample;
  }
};

// rows = table[ids], y = rows · w; the rows of the table are of very different size.
Model encoder() {
  ModelBuilder b;
  const ValueId ids = b.graph().add_value("ids", graph::Type::tensor(DType::kS64, {1, kLength}));
  b.graph().inputs.push_back(ids);
  Tensor table = random_tensor({kRows, kWidth}, 4);
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kWidth; ++c) table.mutable_data<float>()[r * kWidth + c] *= static_cast<float>(1 + r % 50);
  }
  const ValueId rows = b.node("Gather", "rows", {b.constant("table", std::move(table)), ids});
  const ValueId y = b.node("MatMul", "y", {rows, b.weight("w", {kWidth, 32})});
  return b.finish({rows, y});
}

TEST(Embeddings, RowsAreStoredWithAScaleEach) {
  const Model model = encoder();
  const TokenData data;
  for (const char* method : {"static", "dynamic"}) {
    SCOPED_TRACE(method);
    Recipe recipe;
    recipe.method = method;
    const auto outcome = quantize(model, recipe, &data);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    const LayerDecision* layer = find_layer(*outcome, "rows");
    ASSERT_NE(layer, nullptr);
    EXPECT_EQ(layer->decision, Decision::kConverted);
    EXPECT_EQ(layer->weight_bytes_before, 4u * kRows * kWidth);
    EXPECT_EQ(layer->weight_bytes_after, kRows * kWidth + 4u * kRows);
    for (const graph::Value& value : outcome->model.graph.values) {
      const bool is_float = value.constant && value.constant->dtype() == DType::kF32;
      EXPECT_LE(is_float ? value.constant->size() : 0, kRows) << value.name;
    }
    const datasets::Sample sample = *data.read(2);
    const auto expected = run_model(model.graph, sample), found = run_model(outcome->model.graph, sample);
    ASSERT_TRUE(expected.ok() && found.ok());
    const std::span<const float> before = (*expected)[0].data<float>(), after = (*found)[0].data<float>();
    for (std::int64_t i = 0; i < kLength; ++i) {
      float largest = 0;
      for (std::int64_t c = 0; c < kWidth; ++c) largest = std::max(largest, std::abs(before[i * kWidth + c]));
      for (std::int64_t c = 0; c < kWidth; ++c) EXPECT_NEAR(after[i * kWidth + c], before[i * kWidth + c], largest / 127 * 0.501f);
    }
    EXPECT_LT(relative_error((*expected)[1], (*found)[1]), 0.02);
  }
}

TEST(Embeddings, ExcludedTablesStayFloat) {
  const Model model = encoder();
  const TokenData data;
  for (const char* method : {"static", "dynamic"}) {
    Recipe recipe;
    recipe.method = method;
    Rule rule;
    rule.op_type = "Gather";
    rule.quantize = false;
    recipe.rules = {rule};
    const auto outcome = quantize(model, recipe, &data);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    EXPECT_EQ(find_layer(*outcome, "rows")->decision, Decision::kFloat);
    EXPECT_EQ(run_model(model.graph, *data.read(1))->at(0).to_float(), run_model(outcome->model.graph, *data.read(1))->at(0).to_float());
  }
}

}  // namespace
}  // namespace narrow::quantizers
