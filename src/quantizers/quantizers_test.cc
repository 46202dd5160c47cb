#include <gtest/gtest.h>

#include "base/float16.h"
#include "quantizers/quantizer.h"
#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;

TEST(Recipe, SurvivesTheWayThroughToml) {
  Recipe recipe;
  recipe.method = "static";
  recipe.target = "openvino";
  recipe.observer = "entropy";
  recipe.percentile = 99.9;
  recipe.symmetric_activations = true;
  recipe.activation_type = DType::kS8;
  recipe.samples = 42;
  recipe.preprocess = "quote \" and \\ and \n";
  recipe.rules.push_back({.name_pattern = "head.*", .op_type = "Conv", .quantize = false, .per_channel = true, .observer = "mse"});
  const std::string text = to_toml(recipe);
  const Result<Recipe> back = parse_recipe(text, "test");
  ASSERT_TRUE(back.ok()) << back.error().to_string() << text;
  EXPECT_EQ(to_toml(*back), text);
  EXPECT_EQ(back->rules.size(), 1u);
  EXPECT_EQ(back->rules[0].observer, "mse");
  EXPECT_EQ(back->preprocess, recipe.preprocess);
}

TEST(Recipe, NamesTheLineOfAMistake) {
  const Result<Recipe> typo = parse_recipe("method = \"static\"\nobservr = \"mse\"\n", "r.toml");
  ASSERT_FALSE(typo.ok());
  EXPECT_EQ(typo.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(typo.error().message().find("r.toml:2"), std::string::npos) << typo.error().message();
  EXPECT_NE(typo.error().message().find("observer"), std::string::npos);
  EXPECT_EQ(parse_recipe("method = [", "r").error().code(), ErrorCode::kCorrupt);
  EXPECT_FALSE(parse_recipe("samples = -1", "r").ok());
  EXPECT_FALSE(parse_recipe("per_channel = 1", "r").ok());
  EXPECT_FALSE(parse_recipe("rule = 3", "r").ok());
  EXPECT_FALSE(parse_recipe("percentile = 101.0", "r").ok());
}

TEST(Quantizers, AreFoundByName) {
  for (const Quantizer& row : quantizers()) EXPECT_EQ((*find_quantizer(row.name))->name, row.name);
  EXPECT_NE(find_quantizer("statc").error().message().find("static"), std::string::npos);
}

TEST(Dynamic, ProductsOfEveryOrientationAndRank) {
  struct Case { std::string op; Shape x, w; Attributes attributes; bool bias; };
  std::vector<Case> cases = {{"MatMul", {5, 32}, {32, 24}, {}, false}, {"MatMul", {2, 5, 32}, {32, 24}, {}, false}, {"MatMul", {2, 5, 32}, {2, 32, 24}, {}, false}};
  for (std::int64_t ta : {0, 1}) {
    for (std::int64_t tb : {0, 1}) {
      for (bool bias : {false, true}) {
        cases.push_back({"Gemm", ta ? Shape{32, 5} : Shape{5, 32}, tb ? Shape{24, 32} : Shape{32, 24},
                         {{"transA", ta}, {"transB", tb}, {"alpha", 0.5f}, {"beta", 2.0f}}, bias});
      }
    }
  }
  for (const Case& c : cases) {
    SCOPED_TRACE(c.op);
    ModelBuilder b;
    std::vector<ValueId> inputs = {b.input("x", c.x), b.weight("w", c.w)};
    if (c.bias) inputs.push_back(b.weight("c", {24}, 9));
    const Model model = b.finish({b.node(c.op, "y", inputs, c.attributes)});
    Recipe recipe;
    recipe.method = "dynamic";
    const Result<Outcome> outcome = quantize(model, recipe);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    EXPECT_EQ(count_ops(outcome->model.graph, "MatMulInteger"), 1);
    for (const graph::Value& value : outcome->model.graph.values) {
      if (value.constant && value.constant->dtype() == DType::kF32) {
        EXPECT_LE(value.constant->rank(), 1) << value.name;
      }
    }
    const RandomData data(model.graph, 2);
    const auto expected = run_model(model.graph, *data.read(0)), found = run_model(outcome->model.graph, *data.read(0));
    ASSERT_TRUE(expected.ok()) << expected.error().to_string();
    ASSERT_TRUE(found.ok()) << found.error().to_string();
    EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.02);
  }
}

TEST(Dynamic, LeavesConvolutionsAndSaysWhy) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "conv", {b.input("x", {1, 4, 8, 8}), b.weight("w", {32, 4, 3, 3})});
  const ValueId flat = b.node("Flatten", "flat", {c});
  const Model model = b.finish({b.node("MatMul", "fc", {flat, b.weight("v", {32 * 36, 10})})});
  Recipe recipe;
  recipe.method = "dynamic";
  Result<Outcome> outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(find_layer(*outcome, "conv")->decision, Decision::kFloat);
  EXPECT_NE(find_layer(*outcome, "conv")->reason.find("slower"), std::string::npos);
  recipe.compress_weights = true;
  outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(find_layer(*outcome, "conv")->decision, Decision::kConverted);
}

TEST(Dynamic, StoresTheWeightsOfModelsThatGainNoSpeed) {
  ModelBuilder b;
  const Model model = b.finish({b.node("Conv", "conv", {b.input("x", {1, 4, 8, 8}), b.weight("w", {32, 4, 3, 3})})});
  Recipe recipe;
  recipe.method = "dynamic";
  const Result<Outcome> outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  EXPECT_EQ(find_layer(*outcome, "conv")->decision, Decision::kConverted);
  EXPECT_LT(find_layer(*outcome, "conv")->weight_bytes_after * 3, find_layer(*outcome, "conv")->weight_bytes_before);
  ASSERT_EQ(outcome->warnings.size(), 1u);
  EXPECT_NE(outcome->warnings[0].find("slower"), std::string::npos);

  ModelBuilder none;
  const Result<Outcome> nothing = quantize(none.finish({none.node("Relu", "y", {none.input("x", {4, 8})})}), recipe);
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code(), ErrorCode::kUnsupported);
}

TEST(Dynamic, TurnsLstmIntoIntegersAndGruIntoStoredWeights) {
  for (const auto& [op, gates] : {std::pair{"LSTM", 4}, std::pair{"GRU", 3}}) {
    for (std::int64_t directions : {1, 2}) {
      ModelBuilder b;
      const ValueId x = b.input("x", {4, 1, 12});
      const Model model = b.finish({b.node(op, "rnn", {x, b.weight("w", {directions, gates * 16, 12}), b.weight("r", {directions, gates * 16, 16}, 2)},
                                           {{"hidden_size", std::int64_t{16}}, {"direction", std::string(directions == 2 ? "bidirectional" : "forward")}})});
      Recipe recipe;
      recipe.method = "dynamic";
      const Result<Outcome> outcome = quantize(model, recipe);
      ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
      const LayerDecision* layer = find_layer(*outcome, "rnn");
      if (gates == 4) {
        EXPECT_EQ(layer->decision, Decision::kDynamic);
        EXPECT_EQ(outcome->model.opsets.at("com.microsoft"), 1);
        const Node& node = outcome->model.graph.nodes[0];
        ASSERT_EQ(node.inputs.size(), 12u);
        EXPECT_EQ(outcome->model.graph.constant(node.inputs[1])->shape(), (Shape{directions, 12, 64}));
        EXPECT_EQ(outcome->model.graph.constant(node.inputs[8])->shape(), (Shape{directions, 64}));
      } else {
        EXPECT_EQ(layer->decision, Decision::kConverted);
        EXPECT_FALSE(layer->reason.empty());
        const RandomData data(model.graph, 1);
        const auto expected = run_model(model.graph, *data.read(0)), found = run_model(outcome->model.graph, *data.read(0));
        ASSERT_TRUE(expected.ok() && found.ok());
        EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.02);
      }
    }
  }
}

TEST(Half, ConvertsWeightsAndKeepsInputsAndOutputs) {
  for (bool keep : {true, false}) {
    ModelBuilder b;
    const ValueId c = b.node("Conv", "conv", {b.input("x", {1, 4, 8, 8}), b.weight("w", {8, 4, 3, 3}), b.weight("b", {8}, 3)});
    const Model model = b.finish({b.node("Conv", "two", {c, b.weight("v", {4, 8, 1, 1}, 2)})});
    Recipe recipe;
    recipe.method = "fp16";
    recipe.keep_io_float = keep;
    const Result<Outcome> outcome = quantize(model, recipe);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    const Graph& graph = outcome->model.graph;
    EXPECT_EQ(graph.value(graph.inputs[0]).type.dtype, keep ? DType::kF32 : DType::kF16);
    EXPECT_EQ(graph.value(graph.outputs[0]).type.dtype, keep ? DType::kF32 : DType::kF16);
    EXPECT_EQ(graph.value(graph.outputs[0]).name, "two");
    EXPECT_EQ(count_ops(graph, "Cast"), keep ? 2 : 0);
    for (const graph::Value& value : graph.values) EXPECT_TRUE(!value.constant || value.constant->dtype() == DType::kF16);
  }
}

// A transformer block as ONNX Runtime's optimizer writes it.
Model fused_block() {
  ModelBuilder b;
  const ValueId x = b.input("x", {2, 6, 32});
  const auto microsoft = [&](const char* op, const char* name, std::vector<ValueId> inputs, const Attributes& attributes = {}) {
    const ValueId y = b.node(op, name, std::move(inputs), attributes);
    b.graph().nodes.back().domain = "com.microsoft";
    return y;
  };
  const ValueId attended = microsoft("Attention", "attention", {x, b.weight("qkv", {32, 96}), b.weight("qkv_bias", {96}, 2)}, {{"num_heads", std::int64_t{4}}});
  const ValueId sum = microsoft("SkipLayerNormalization", "norm", {attended, x, b.weight("gamma", {32}, 3)}, {{"epsilon", 1e-5f}});
  const ValueId up = b.node("MatMul", "up", {sum, b.weight("wide", {32, 64}, 4)});
  const ValueId active = microsoft("BiasGelu", "gelu", {up, b.weight("bias", {64}, 5)});
  return b.finish({b.node("MatMul", "down", {active, b.weight("tall", {64, 32}, 6)})});
}

TEST(FusedTransformer, LosesItsWeightsToEveryMethod) {
  const Model model = fused_block();
  const RandomData data(model.graph, 16);
  for (const char* method : {"static", "dynamic", "fp16"}) {
    SCOPED_TRACE(method);
    Recipe recipe;
    recipe.method = method;
    const bool half = recipe.method == "fp16";
    const Result<Outcome> outcome = quantize(model, recipe, recipe.method == "static" ? &data : nullptr);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    const Graph& graph = outcome->model.graph;
    EXPECT_EQ(count_ops(graph, "MultiHeadAttention"), 1);
    for (const char* fused : {"attention", "norm", "gelu"}) {
      const LayerDecision* layer = find_layer(*outcome, fused);
      EXPECT_EQ(layer->decision, half ? Decision::kConverted : Decision::kFloat) << fused;
      EXPECT_TRUE(half || !layer->reason.empty()) << fused;
    }
    for (const graph::Value& value : graph.values) {
      EXPECT_TRUE(!value.constant || value.constant->rank() < 2 || value.constant->dtype() != DType::kF32) << value.name << " stayed f32";
    }
    const auto expected = run_model(model.graph, *data.read(0)), found = run_model(graph, *data.read(0));
    ASSERT_TRUE(expected.ok()) << expected.error().to_string();
    ASSERT_TRUE(found.ok()) << found.error().to_string();
    EXPECT_LT(relative_error((*expected)[0], (*found)[0]), half ? 0.01 : 0.1);
  }
}

TEST(Half, KeepsLayersBeyondTheRangeOfHalf) {
  ModelBuilder b;
  Tensor w = random_tensor({8, 4, 1, 1}, 1);
  w.mutable_data<float>()[3] = 1e5f;
  const ValueId c = b.node("Conv", "big", {b.input("x", {1, 4, 8, 8}), b.constant("w", w)});
  const Model model = b.finish({b.node("Conv", "two", {c, b.weight("v", {4, 8, 1, 1}, 2)})});
  Recipe recipe;
  recipe.method = "fp16";
  const Result<Outcome> outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(find_layer(*outcome, "big")->decision, Decision::kFloat);
  EXPECT_NE(find_layer(*outcome, "big")->reason.find("65504"), std::string::npos);
  EXPECT_EQ(find_layer(*outcome, "two")->decision, Decision::kConverted);
}

// The standard defines Celu and the statistics of LayerNormalization for f32 alone.
TEST(Half, KeepsWhatTheStandardKnowsInF32Alone) {
  ModelBuilder b;
  const ValueId c = b.node("Celu", "celu", {b.node("MatMul", "product", {b.input("x", {4, 32}), b.weight("w", {32, 16})})});
  const ValueId n = b.node("LayerNormalization", "norm", {c, b.weight("g", {16}, 2)});
  const ValueId mean = b.graph().add_value("mean", {});
  b.graph().nodes.back().outputs.push_back(mean);
  const Model model = b.finish({n, mean});
  Recipe recipe;
  recipe.method = "fp16";
  const Result<Outcome> outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  EXPECT_EQ(find_layer(*outcome, "product")->decision, Decision::kConverted);
  for (const char* name : {"celu", "norm"}) {
    EXPECT_EQ(find_layer(*outcome, name)->decision, Decision::kFloat) << name;
    EXPECT_FALSE(find_layer(*outcome, name)->reason.empty()) << name;
  }
}

TEST(Half, StoresBfloat16WithACastBack) {
  ModelBuilder b;
  const Model model = b.finish({b.node("MatMul", "y", {b.input("x", {4, 32}), b.weight("w", {32, 16})})});
  Recipe recipe;
  recipe.method = "bf16";
  const Result<Outcome> outcome = quantize(model, recipe);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  EXPECT_EQ(find_layer(*outcome, "y")->weight_bytes_after * 2, find_layer(*outcome, "y")->weight_bytes_before);
  const RandomData data(model.graph, 1);
  const auto expected = run_model(model.graph, *data.read(0)), found = run_model(outcome->model.graph, *data.read(0));
  ASSERT_TRUE(expected.ok());
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.01);
}

TEST(Half, RefusesModelsThatGainNothing) {
  Recipe recipe;
  recipe.method = "bf16";
  ModelBuilder small;
  const Result<Outcome> stored = quantize(small.finish({small.node("MatMul", "y", {small.input("x", {4, 8}), small.weight("w", {8, 4})})}), recipe);
  ASSERT_FALSE(stored.ok());
  EXPECT_EQ(stored.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(stored.error().message().find("MatMul: it has no large weights"), std::string::npos);

  recipe.method = "fp16";
  ModelBuilder half;
  const ValueId x = half.graph().add_value("x", graph::Type::tensor(DType::kF16, {4, 8}));
  half.graph().inputs.push_back(x);
  const Result<Outcome> again = quantize(half.finish({half.node("Relu", "y", {x})}), recipe);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace narrow::quantizers
