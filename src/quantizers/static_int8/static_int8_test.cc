#include "quantizers/static_int8/static_int8.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quantizers/small_models.h"

namespace narrow::quantizers {
namespace {

using namespace testing;
using Ints = std::vector<std::int64_t>;

// Every constant DequantizeLinear has integers behind it, and nobody reads a float weight of matrix size.
void expect_integers_only(const Graph& graph, const std::string& context) {
  for (const graph::Value& value : graph.values) {
    if (!value.constant || value.constant->dtype() != DType::kF32) continue;
    EXPECT_LE(value.constant->rank(), 1) << context << ": float constant '" << value.name << "'";
  }
  for (const Node& node : graph.nodes) {
    if (node.op_type != "QuantizeLinear" && node.op_type != "DequantizeLinear") continue;
    const Tensor* scale = graph.constant(node.inputs[1]);
    ASSERT_NE(scale, nullptr);
    for (float s : scale->data<float>()) EXPECT_TRUE(std::isfinite(s) && s >= std::numeric_limits<float>::min()) << context << " " << node.name;
  }
}

void expect_close(const Model& model, const Recipe& recipe, double tolerance, const std::string& context, float low = -1, float high = 1) {
  SCOPED_TRACE(context);
  const RandomData data(model.graph, 8, low, high);
  const Result<Outcome> outcome = quantize(model, recipe, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  const datasets::Sample sample = *data.read(3);
  const auto expected = run_model(model.graph, sample);
  const auto found = run_model(outcome->model.graph, sample);
  ASSERT_TRUE(expected.ok()) << expected.error().to_string();
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  for (std::size_t i = 0; i < expected->size(); ++i) EXPECT_LT(relative_error((*expected)[i], (*found)[i]), tolerance);
  expect_integers_only(outcome->model.graph, context);
}

TEST(StaticInt8, GemmInEveryOrientationAndFactor) {
  for (const char* target : {"onnxruntime", "openvino", "tensorrt"}) {
    for (std::int64_t ta : {0, 1}) {
      for (std::int64_t tb : {0, 1}) {
        for (float alpha : {1.0f, 0.25f}) {
          for (float beta : {1.0f, -3.0f}) {
            for (int bias : {0, 1, 2}) {
              for (bool per_channel : {true, false}) {
                ModelBuilder b;
                const ValueId x = b.input("x", ta ? Shape{24, 6} : Shape{6, 24});
                std::vector<ValueId> inputs = {x, b.weight("w", tb ? Shape{10, 24} : Shape{24, 10})};
                if (bias > 0) inputs.push_back(b.weight("c", bias == 1 ? Shape{10} : Shape{1, 10}, 5));
                const Model model = b.finish({b.node("Gemm", "y", inputs, {{"transA", ta}, {"transB", tb}, {"alpha", alpha}, {"beta", beta}})});
                Recipe recipe;
                recipe.target = target;
                recipe.per_channel = per_channel;
                if (bias == 2 && std::string(target) == "tensorrt") continue;  // its bias stays a float matrix
                expect_close(model, recipe, 0.02, std::string(target) + " transA " + std::to_string(ta) + " transB " + std::to_string(tb) + " bias " + std::to_string(bias));
              }
            }
          }
        }
      }
    }
  }
}

// Where the result leaves in float, no range behind the layer cuts off what the activation cut off.
TEST(StaticInt8, ActivationsBeforeFloatOperatorsStay) {
  for (const char* target : {"onnxruntime", "openvino", "tensorrt"}) {
    for (const char* layer : {"Gemm", "MatMul", "Conv"}) {
      for (const char* activation : {"Relu", "Clip"}) {
        for (const char* behind : {"", "Exp", "Relu", "Clip"}) {
          ModelBuilder b;
          const bool conv = std::string_view(layer) == "Conv";
          const ValueId x = b.input("x", conv ? Shape{1, 4, 6, 6} : Shape{6, 24});
          const auto activate = [&](const std::string& op, const std::string& name, ValueId in, float high) {
            if (op != "Clip") return b.node(op, name, {in});
            return b.node(op, name, {in, b.constant(name + "_low", Tensor::from<float>({}, {0.0f})), b.constant(name + "_high", Tensor::from<float>({}, {high}))});
          };
          ValueId y = b.node(layer, "layer", {x, b.weight("w", conv ? Shape{5, 4, 3, 3} : Shape{24, 10})});
          y = activate(activation, "first", y, 0.5f);
          if (*behind != '\0') y = activate(behind, "second", y, 0.25f);
          const Model model = b.finish({y});
          Recipe recipe;
          recipe.target = target;
          expect_close(model, recipe, 0.02, fmt::format("{}: {} {} {}", target, layer, activation, behind));
        }
      }
    }
  }
}

TEST(StaticInt8, MatMulOfEveryRank) {
  const std::pair<Shape, Shape> shapes[] = {{{6, 24}, {24, 10}}, {{2, 6, 24}, {24, 10}}, {{2, 6, 24}, {2, 24, 10}}, {{3, 2, 6, 24}, {1, 2, 24, 10}}};
  for (const auto& [xs, ws] : shapes) {
    ModelBuilder b;
    const Model model = b.finish({b.node("MatMul", "y", {b.input("x", xs), b.weight("w", ws)})});
    const RandomData data(model.graph, 8);
    const Result<Outcome> outcome = quantize(model, {}, &data);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    for (const Node& node : outcome->model.graph.nodes) {
      if (node.op_type == "DequantizeLinear" && node.has("axis")) {
        EXPECT_EQ(ws.size(), 2u) << "only matrices may be per channel";
      }
    }
    const auto expected = run_model(model.graph, *data.read(1)), found = run_model(outcome->model.graph, *data.read(1));
    ASSERT_TRUE(expected.ok() && found.ok());
    EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.02);
  }
}

TEST(StaticInt8, MatMulOfTwoActivationsQuantizesBoth) {
  ModelBuilder b;
  const Model model = b.finish({b.node("MatMul", "y", {b.input("p", {2, 6, 24}), b.input("q", {2, 24, 5})})});
  expect_close(model, {}, 0.02, "attention product");
}

TEST(StaticInt8, ConvolutionsOfEveryGrouping) {
  for (const char* target : {"onnxruntime", "openvino", "tensorrt"}) {
    for (std::int64_t group : {1, 2, 8}) {
      for (bool bias : {false, true}) {
        for (bool transpose : {false, true}) {
          if (transpose && std::string(target) == "onnxruntime") continue;  // no integer kernel
          ModelBuilder b;
          std::vector<ValueId> inputs = {b.input("x", {2, 8, 7, 6})};
          inputs.push_back(b.weight("w", transpose ? Shape{8, 16 / group, 3, 3} : Shape{16, 8 / group, 3, 3}));
          if (bias) inputs.push_back(b.weight("b", {16}, 4));
          const Model model = b.finish({b.node(transpose ? "ConvTranspose" : "Conv", "y", inputs, {{"group", group}})});
          Recipe recipe;
          recipe.target = target;
          expect_close(model, recipe, 0.02, std::string(target) + " group " + std::to_string(group) + (transpose ? " transposed" : ""));
        }
      }
    }
  }
}

TEST(StaticInt8, HugeBiasEnlargesTheWeightScale) {
  ModelBuilder b;
  Tensor w = random_tensor({4, 8}, 1, -1e-7f, 1e-7f);
  const Tensor c = Tensor::from<float>({4}, {5000.0f, -1.0f, 0.0f, 3e4f});
  const Model model = b.finish({b.node("Gemm", "y", {b.input("x", {3, 8}), b.constant("w", w), b.constant("c", c)}, {{"transB", std::int64_t{1}}})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  bool told = false;
  for (const std::string& warning : outcome->warnings) told = told || warning.find("enlarged") != std::string::npos;
  EXPECT_TRUE(told);
  const auto expected = run_model(model.graph, *data.read(0)), found = run_model(outcome->model.graph, *data.read(0));
  ASSERT_TRUE(expected.ok() && found.ok());
  EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.01);
}

TEST(StaticInt8, DeadChannelsKeepTheirBias) {
  ModelBuilder b;
  Tensor w = random_tensor({4, 8}, 1);
  for (int k = 0; k < 8; ++k) w.mutable_data<float>()[8 + k] = 0;   // output channel 1
  const Model model = b.finish({b.node("Gemm", "y", {b.input("x", {3, 8}), b.constant("w", w), b.constant("c", Tensor::from<float>({4}, {0, 0.37f, 0, 0}))}, {{"transB", std::int64_t{1}}})});
  const RandomData data(model.graph, 4, -100, 100);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok());
  const auto found = run_model(outcome->model.graph, *data.read(0));
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  for (int row = 0; row < 3; ++row) EXPECT_NEAR((*found)[0].to_float()[row * 4 + 1], 0.37f, 1e-3f);
}

TEST(StaticInt8, SharedWeightsAreStoredOnce) {
  ModelBuilder b;
  const ValueId x = b.input("x", {2, 16}), w = b.weight("w", {16, 16});
  const ValueId y = b.node("MatMul", "first", {x, w});
  const Model model = b.finish({b.node("MatMul", "second", {y, w})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  int matrices = 0;
  for (const graph::Value& value : outcome->model.graph.values) matrices += value.constant && value.constant->rank() == 2;
  EXPECT_EQ(matrices, 1);
}

TEST(StaticInt8, ReluIsDroppedIntoAnUnsignedRange) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "conv", {b.input("x", {1, 4, 6, 6}), b.weight("w", {8, 4, 3, 3})});
  const ValueId r = b.node("Relu", "relu", {c});
  const Model model = b.finish({b.node("Conv", "last", {r, b.weight("v", {4, 8, 1, 1}, 2)})});
  expect_close(model, {}, 0.03, "relu");
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(count_ops(outcome->model.graph, "Relu"), 0);
  EXPECT_EQ(find_layer(*outcome, "relu")->decision, Decision::kFolded);
  Recipe tensorrt;
  tensorrt.target = "tensorrt";
  const Result<Outcome> symmetric = quantize(model, tensorrt, &data);
  ASSERT_TRUE(symmetric.ok()) << symmetric.error().to_string();
  EXPECT_EQ(count_ops(symmetric->model.graph, "Relu"), 1);
  for (const graph::Value& value : symmetric->model.graph.values) {
    EXPECT_TRUE(!value.constant || value.constant->dtype() != DType::kU8) << "tensorrt takes s8 only";
    if (value.constant && value.constant->dtype() == DType::kS8 && value.name.ends_with("_z")) {
      for (std::int64_t z : value.constant->to_int64()) EXPECT_EQ(z, 0);
    }
  }
}

TEST(StaticInt8, TransportsShareParametersAndConcatOfLonelyValuesToo) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId p = b.node("Conv", "left", {x, b.weight("w1", {4, 4, 1, 1}, 1)});
  const ValueId q = b.node("Conv", "right", {x, b.weight("w2", {4, 4, 3, 3}, 2), }, {{"pads", Ints{1, 1, 1, 1}}});
  const ValueId c = b.node("Concat", "both", {p, q}, {{"axis", std::int64_t{1}}});
  const ValueId m = b.node("MaxPool", "pool", {c}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  const Model model = b.finish({b.node("Conv", "last", {m, b.weight("w3", {4, 8, 1, 1}, 3)})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  const Graph& graph = outcome->model.graph;
  std::map<std::string, ValueId> scale_of;
  for (const Node& node : graph.nodes) {
    if (node.op_type == "QuantizeLinear") scale_of[graph.value(node.inputs[0]).name] = node.inputs[1];
  }
  EXPECT_EQ(scale_of.at("left_raw"), scale_of.at("both_raw"));
  EXPECT_EQ(scale_of.at("right_raw"), scale_of.at("both_raw"));
  EXPECT_EQ(scale_of.at("pool_raw"), scale_of.at("both_raw"));
  EXPECT_NE(scale_of.at("x"), scale_of.at("both_raw"));
}

TEST(StaticInt8, ConcatOfFarRangesStaysFloat) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId boxes = b.node("Conv", "boxes", {x, b.constant("w1", random_tensor({4, 4, 1, 1}, 1, -100, 100))});
  const ValueId scores = b.node("Conv", "scores", {x, b.constant("w2", random_tensor({4, 4, 1, 1}, 2, -0.1f, 0.1f))});
  const ValueId c = b.node("Concat", "head", {boxes, scores}, {{"axis", std::int64_t{1}}});
  const Model model = b.finish({b.node("Conv", "last", {c, b.weight("w3", {4, 8, 1, 1}, 3)})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok());
  const LayerDecision* head = find_layer(*outcome, "head");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->decision, Decision::kFloat);
  EXPECT_NE(head->reason.find("ranges"), std::string::npos) << head->reason;
}

// Differences of neighbouring channels: what they have in common cancels.
ValueId differences(ModelBuilder& b, const std::string& name, ValueId x) {
  const float w[] = {1, -1, 0, 0, 0, 0, 1, -1};
  return b.node("Conv", name, {x, b.constant(name + ".w", Tensor::from<float>({2, 4, 1, 1}, std::span<const float>(w)))});
}

TEST(StaticInt8, LayersThatCancelLargeInputsStayFloat) {
  for (const char* target : {"onnxruntime", "openvino"}) {
    for (float centre : {0.0f, 200.0f}) {
      ModelBuilder b;
      const ValueId d = differences(b, "differ", b.input("x", {1, 4, 8, 8}));
      const Model model = b.finish({b.node("Conv", "last", {b.node("Sigmoid", "s", {d}), b.weight("v", {4, 2, 1, 1}, 2)})});
      const RandomData data(model.graph, 8, centre - 1, centre + 1);
      Recipe recipe;
      recipe.target = target;
      const Result<Outcome> outcome = quantize(model, recipe, &data);
      ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
      const LayerDecision* differ = find_layer(*outcome, "differ");
      EXPECT_EQ(differ->decision, centre == 0 ? Decision::kQuantized : Decision::kFloat) << target << " around " << centre;
      EXPECT_EQ(find_layer(*outcome, "last")->decision, Decision::kQuantized);
      if (centre > 0) {
        EXPECT_NE(differ->reason.find("between signal and noise"), std::string::npos) << differ->reason;
      }
      const auto expected = run_model(model.graph, *data.read(3)), found = run_model(outcome->model.graph, *data.read(3));
      ASSERT_TRUE(expected.ok() && found.ok());
      EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.03) << target << " around " << centre;
    }
  }
}

TEST(StaticInt8, NothingIsRoundedBeforeALogarithm) {
  for (const char* between : {"Abs", "Sigmoid"}) {
    ModelBuilder b;
    const ValueId c = b.node("Conv", "spectrum", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})});
    const ValueId l = b.node("Log", "log", {b.node(between, "between", {c})});
    const Model model = b.finish({b.node("Conv", "last", {l, b.weight("v", {4, 4, 1, 1}, 2)})});
    const RandomData data(model.graph, 4);
    const Result<Outcome> outcome = quantize(model, {}, &data);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    const LayerDecision* spectrum = find_layer(*outcome, "spectrum");
    EXPECT_EQ(spectrum->decision, std::string(between) == "Abs" ? Decision::kFloat : Decision::kQuantized);
    EXPECT_EQ(find_layer(*outcome, "last")->decision, Decision::kQuantized);
  }
}

TEST(StaticInt8, RoundingIsJudgedThroughSilu) {
  ModelBuilder b;
  // Large values of one sign pass SiLU unchanged; the layer behind it cancels them.
  const ValueId c = b.node("Conv", "wide", {b.input("x", {1, 4, 8, 8}), b.constant("w", [] {
    Tensor eye = *Tensor::create(DType::kF32, {4, 4, 1, 1});
    for (int i = 0; i < 16; ++i) eye.mutable_data<float>()[i] = i % 5 == 0 ? 1.0f : 0.0f;
    return eye;
  }())});
  const ValueId m = b.node("Mul", "silu", {c, b.node("Sigmoid", "gate", {c})});
  const ValueId d = differences(b, "differ", m);
  const Model model = b.finish({b.node("Conv", "last", {b.node("Sigmoid", "s", {d}), b.weight("v", {4, 2, 1, 1}, 2)})});
  const RandomData data(model.graph, 8, 199, 201);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  for (const char* name : {"wide", "silu", "gate", "differ"}) EXPECT_EQ(find_layer(*outcome, name)->decision, Decision::kFloat) << name;
  EXPECT_EQ(find_layer(*outcome, "last")->decision, Decision::kQuantized);
}

TEST(StaticInt8, LonelyFollowersAreNoIslands) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId t = b.node("Tanh", "tanh", {x});
  const ValueId s = b.node("Add", "sum", {t, x});
  const ValueId u = b.node("Tanh", "again", {s});
  const ValueId c = b.node("Conv", "conv", {u, b.weight("w", {4, 4, 1, 1})});
  const Model model = b.finish({b.node("Sigmoid", "out", {c})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  EXPECT_EQ(find_layer(*outcome, "sum")->decision, Decision::kFloat);
  EXPECT_EQ(find_layer(*outcome, "conv")->decision, Decision::kQuantized);
  EXPECT_EQ(find_layer(*outcome, "out")->decision, Decision::kFloat) << "a head keeps its resolution";
  for (const LayerDecision& layer : outcome->layers) {
    if (layer.decision == Decision::kFloat) {
      EXPECT_FALSE(layer.reason.empty()) << layer.node;
    }
  }
}

TEST(StaticInt8, FloatOperatorsBetweenLayersAreReported) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "one", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})});
  const ValueId t = b.node("Tanh", "tanh", {c});
  const Model model = b.finish({b.node("Conv", "two", {t, b.weight("v", {4, 4, 1, 1}, 2)})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok());
  bool told = false;
  for (const std::string& warning : outcome->warnings) told = told || (warning.find("tanh") != std::string::npos && warning.find("512 values") != std::string::npos);
  EXPECT_TRUE(told);
}

TEST(StaticInt8, FloatChainsBetweenLayersAreReportedWhole) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "one", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})});
  const ValueId t = b.node("Exp", "second", {b.node("Tanh", "first", {c})});
  const Model model = b.finish({b.node("Conv", "two", {t, b.weight("v", {4, 4, 1, 1}, 2)})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_TRUE(outcome.ok());
  int told = 0;
  for (const std::string& warning : outcome->warnings) told += warning.find("'first'") != std::string::npos && warning.find("512 values") != std::string::npos;
  EXPECT_EQ(told, 1);
}

TEST(StaticInt8, PaddingMovesCodesForOnnxRuntime) {
  for (bool zero : {true, false}) {
    ModelBuilder b;
    const ValueId c = b.node("Conv", "one", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})});
    const ValueId fill = b.constant("fill", Tensor::scalar(zero ? 0.0f : 0.3f));
    const ValueId p = b.node("Pad", "pad", {c, b.ints("pads", {0, 2, 1, 1, 0, 2, 1, 1}), fill});
    const Model model = b.finish({b.node("Conv", "two", {p, b.weight("v", {4, 8, 1, 1}, 2)})});
    const RandomData data(model.graph, 4);
    const Result<Outcome> outcome = quantize(model, {}, &data);
    ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
    EXPECT_EQ(find_layer(*outcome, "pad")->decision, zero ? Decision::kQuantized : Decision::kFloat);
    const Graph& graph = outcome->model.graph;
    for (const Node& node : graph.nodes) {
      if (node.op_type == "Pad" && zero) {
        EXPECT_EQ(graph.constant(node.inputs[2])->dtype(), DType::kU8);
      }
    }
    const auto expected = run_model(model.graph, *data.read(0)), found = run_model(graph, *data.read(0));
    ASSERT_TRUE(expected.ok());
    ASSERT_TRUE(found.ok()) << found.error().to_string();
    EXPECT_LT(relative_error((*expected)[0], (*found)[0]), 0.03);
  }
}

TEST(StaticInt8, RulesExcludeByNameAndOperator) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "block1.conv", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})});
  const Model model = b.finish({b.node("Conv", "block2.conv", {c, b.weight("v", {4, 4, 1, 1}, 2)})});
  const RandomData data(model.graph, 4);
  Recipe recipe;
  recipe.rules.push_back({.name_pattern = "block1.*", .quantize = false});
  const Result<Outcome> outcome = quantize(model, recipe, &data);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(find_layer(*outcome, "block1.conv")->decision, Decision::kFloat);
  EXPECT_NE(find_layer(*outcome, "block1.conv")->reason.find("block1.*"), std::string::npos);
  EXPECT_EQ(find_layer(*outcome, "block2.conv")->decision, Decision::kQuantized);
  EXPECT_NE(outcome->model.graph.find_value("w"), graph::kNoValue);
}

TEST(StaticInt8, RefusesWhatItCannotDo) {
  ModelBuilder b;
  const Model model = b.finish({b.node("Conv", "conv", {b.input("x", {1, 4, 8, 8}), b.weight("w", {4, 4, 1, 1})})});
  const RandomData data(model.graph, 4);
  EXPECT_EQ(quantize(model, {}, nullptr).error().code(), ErrorCode::kInvalidArgument);
  Recipe recipe;
  recipe.target = "tensorrt";
  recipe.activation_type = DType::kU8;
  EXPECT_EQ(quantize(model, recipe, &data).error().code(), ErrorCode::kUnsupported);
  recipe = {};
  recipe.target = "openvino";
  recipe.form = "qoperator";
  EXPECT_EQ(quantize(model, recipe, &data).error().code(), ErrorCode::kUnsupported);
  const Result<Outcome> once = quantize(model, {}, &data);
  ASSERT_TRUE(once.ok());
  const Result<Outcome> twice = quantize(once->model, {}, &data);
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().message().find("already"), std::string::npos);
}

TEST(StaticInt8, NamesWeightsThatAreNotFinite) {
  ModelBuilder b;
  Tensor w = random_tensor({4, 4, 1, 1}, 1);
  w.mutable_data<float>()[5] = NAN;
  const Model model = b.finish({b.node("Conv", "conv", {b.input("x", {1, 4, 8, 8}), b.constant("broken", w)})});
  const RandomData data(model.graph, 4);
  const Result<Outcome> outcome = quantize(model, {}, &data);
  ASSERT_FALSE(outcome.ok());
  EXPECT_NE(outcome.error().message().find("broken"), std::string::npos);
}

TEST(StaticInt8, ThreadsDoNotChangeTheResult) {
  ModelBuilder b;
  const ValueId c = b.node("Conv", "one", {b.input("x", {1, 4, 8, 8}), b.weight("w", {16, 4, 3, 3})});
  const Model model = b.finish({b.node("Conv", "two", {b.node("Relu", "relu", {c}), b.weight("v", {4, 16, 1, 1}, 2)})});
  const RandomData data(model.graph, 9);
  for (const char* observer : {"min_max", "entropy", "mse", "percentile", "moving_average"}) {
    Recipe recipe;
    recipe.observer = observer;
    const Result<Outcome> one = quantize(model, recipe, &data, 1), four = quantize(model, recipe, &data, 4);
    ASSERT_TRUE(one.ok() && four.ok()) << observer;
    ASSERT_EQ(one->model.graph.values.size(), four->model.graph.values.size());
    for (std::size_t v = 0; v < one->model.graph.values.size(); ++v) {
      const auto& p = one->model.graph.values[v].constant;
      const auto& q = four->model.graph.values[v].constant;
      ASSERT_EQ(p.has_value(), q.has_value());
      if (p) {
        EXPECT_TRUE(std::equal(p->byte_span().begin(), p->byte_span().end(), q->byte_span().begin(), q->byte_span().end())) << observer;
      }
    }
  }
}

TEST(StaticInt8, OperatorFormComputesTheSame) {
  ModelBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId c = b.node("Conv", "one", {x, b.weight("w", {8, 4, 3, 3}), b.weight("bias", {8}, 7)});
  const ValueId m = b.node("MaxPool", "pool", {c}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  const Model model = b.finish({b.node("Conv", "two", {m, b.weight("v", {4, 8, 1, 1}, 2)})});
  const RandomData data(model.graph, 4);
  Recipe recipe;
  recipe.form = "qoperator";
  const Result<Outcome> outcome = quantize(model, recipe, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  EXPECT_EQ(count_ops(outcome->model.graph, "QLinearConv"), 2);
  EXPECT_EQ(count_ops(outcome->model.graph, "QuantizeLinear"), 1);
  EXPECT_EQ(count_ops(outcome->model.graph, "DequantizeLinear"), 1);
}

TEST(StaticInt8, KeepsTheFirstAndTheLastLayerWhenAsked) {
  ModelBuilder b;
  ValueId x = b.input("x", {1, 4, 8, 8});
  for (const char* name : {"a", "b", "c", "d"}) x = b.node("Conv", name, {x, b.weight(std::string(name) + "_w", {4, 4, 1, 1})});
  const Model model = b.finish({x});
  const RandomData data(model.graph, 4);
  Recipe recipe;
  recipe.keep_first_last = true;
  const auto outcome = quantize(model, recipe, &data);
  ASSERT_TRUE(outcome.ok()) << outcome.error().to_string();
  for (const auto& [name, decision] : {std::pair("a", Decision::kFloat), std::pair("b", Decision::kQuantized), std::pair("c", Decision::kQuantized), std::pair("d", Decision::kFloat)}) {
    EXPECT_EQ(find_layer(*outcome, name)->decision, decision) << name;
  }
}

}  // namespace
}  // namespace narrow::quantizers
