#include "quantizers/weight_only/weight_only.h"

#include <gtest/gtest.h>

#include "quantizers/matrix/matrix.h"
#include "quantizers/small_models.h"
#include "quantizers/weight_only/blocked.h"

namespace narrow::quantizers {
namespace {

using namespace testing;

Recipe recipe_of(std::uint64_t bits, std::uint64_t group_size, bool symmetric, const std::string& form) {
  Recipe recipe;
  recipe.method = "weight-only";
  recipe.form = form;
  recipe.weights.bits = bits;
  recipe.weights.group_size = group_size;
  recipe.weights.symmetric = symmetric;
  return recipe;
}

// The float model with the weight that quantize_matrix gives, run in float.
Tensor expected_weight(const Tensor& weight, bool transposed, const Recipe& recipe) {
  const std::int64_t k = weight.shape()[transposed ? 1 : 0], n = weight.shape()[transposed ? 0 : 1];
  std::vector<float> rows(static_cast<std::size_t>(k * n));
  const auto from = weight.data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < k; ++j) rows[static_cast<std::size_t>(i * k + j)] = transposed ? from[static_cast<std::size_t>(i * k + j)] : from[static_cast<std::size_t>(j * n + i)];
  }
  MatrixOptions options{.bits = static_cast<int>(recipe.weights.bits), .group_size = static_cast<std::int64_t>(recipe.weights.group_size),
                        .symmetric = recipe.weights.symmetric, .scale_type = encodings::ScaleType::kF32};
  base::ThreadPool pool(1);
  const auto made = quantize_matrix(**find_matrix_method("rounding"), rows, n, k, nullptr, options, pool);
  EXPECT_TRUE(made);
  encodings::dequantize_rows(made->matrix, 0, n, rows.data());
  Tensor out = *Tensor::create(DType::kF32, weight.shape());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < k; ++j) out.mutable_data<float>()[static_cast<std::size_t>(transposed ? i * k + j : j * n + i)] = rows[static_cast<std::size_t>(i * k + j)];
  }
  return out;
}

TEST(WeightOnly, ProductsOfEveryKindComputeWithTheRoundedWeight) {
  struct Case {
    std::string op;
    Shape x;
    bool transposed, bias;
  };
  for (const Case& c : {Case{"MatMul", {3, 96}, false, false}, Case{"MatMul", {2, 3, 96}, false, false}, Case{"Gemm", {3, 96}, false, true},
                        Case{"Gemm", {3, 96}, true, true}, Case{"Gemm", {3, 96}, true, false}}) {
    for (const std::string form : {"qdq", "qoperator"}) {
      for (std::uint64_t bits : {2, 3, 4, 8}) {
        for (std::uint64_t group : {32, 48, 0}) {
          for (bool symmetric : {false, true}) {
            if (bits == 2 && form == "qdq") continue;
            const Recipe recipe = recipe_of(bits, group, symmetric, form);
            const Tensor weight = random_tensor(c.transposed ? Shape{40, 96} : Shape{96, 40}, 3);
            const auto build = [&](const Tensor& w) {
              ModelBuilder b;
              std::vector<ValueId> inputs = {b.input("x", c.x), b.constant("w", w)};
              if (c.bias) inputs.push_back(b.weight("b", {40}, 5));
              Attributes attributes;
              if (c.op == "Gemm") attributes = {{"transB", std::int64_t{c.transposed ? 1 : 0}}};
              return b.finish({b.node(c.op, "y", inputs, attributes)});
            };
            const Model model = build(weight);
            const auto made = quantize(model, recipe);
            ASSERT_TRUE(made) << made.error().to_string();
            EXPECT_EQ(count_ops(made->model.graph, "MatMulNBits"), form == "qoperator");
            EXPECT_EQ(count_ops(made->model.graph, "DequantizeLinear"), form == "qdq");
            const RandomData data(model.graph, 1);
            const auto sample = *data.read(0);
            const auto found = run_model(made->model.graph, sample), expected = run_model(build(expected_weight(weight, c.transposed, recipe)).graph, sample);
            ASSERT_TRUE(found && expected) << form << bits;
            EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 1e-5) << c.op << form << bits << " " << group << symmetric;
            const LayerDecision* layer = find_layer(*made, "y");
            ASSERT_NE(layer, nullptr);
            EXPECT_EQ(layer->decision, Decision::kQuantized);
            EXPECT_LT(layer->weight_bytes_after, layer->weight_bytes_before / 2);
            EXPECT_EQ(made->model.graph.find_value("w"), graph::kNoValue);  // the float weight is gone
          }
        }
      }
    }
  }
}

TEST(WeightOnly, SharedWeightsAreStoredOnce) {
  ModelBuilder b;
  const ValueId x = b.input("x", {4, 64}), w = b.weight("w", {64, 64});
  const Model model = b.finish({b.node("MatMul", "y", {b.node("MatMul", "h", {x, w}), w})});
  const auto made = quantize(model, recipe_of(4, 32, false, "qdq"));
  ASSERT_TRUE(made);
  EXPECT_EQ(count_ops(made->model.graph, "DequantizeLinear"), 1);
}

TEST(WeightOnly, SaysWhyALayerStaysFloat) {
  ModelBuilder b;
  const ValueId x = b.input("x", {4, 64}), odd = b.input("odd", {4, 36});
  const ValueId kept = b.node("MatMul", "kept", {x, b.weight("w1", {64, 64})});
  const ValueId small = b.node("MatMul", "small", {x, b.weight("w2", {64, 2})});
  const ValueId uneven = b.node("MatMul", "uneven", {odd, b.weight("w3", {36, 64})});
  const ValueId good = b.node("MatMul", "good", {kept, b.weight("w4", {64, 64})});
  const Model model = b.finish({good, small, uneven});
  Recipe recipe = recipe_of(4, 0, false, "qoperator");
  recipe.rules.push_back({.name_pattern = "kept", .quantize = false});
  const auto made = quantize(model, recipe);
  ASSERT_TRUE(made);
  for (const char* node : {"kept", "small", "uneven"}) {
    const LayerDecision* layer = find_layer(*made, node);
    ASSERT_NE(layer, nullptr) << node;
    EXPECT_EQ(layer->decision, Decision::kFloat) << node;
    EXPECT_FALSE(layer->reason.empty()) << node;
  }
  EXPECT_NE(find_layer(*made, "uneven")->reason.find("36"), std::string::npos);
  EXPECT_EQ(find_layer(*made, "good")->decision, Decision::kQuantized);
  EXPECT_FALSE(quantize(model, recipe_of(2, 32, false, "qdq")));
  EXPECT_FALSE(quantize(model, recipe_of(5, 32, false, "qdq")));
}

}  // namespace
}  // namespace narrow::quantizers
