#include "passes/passes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "passes/insert_qdq.h"
#include "passes/qdq_to_qoperator.h"
#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using namespace testing;
using graph::kNoValue;

void expect_near(const Tensor& a, const Tensor& b, float tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  for (std::int64_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], tolerance * (1 + std::abs(a.data<float>()[i]))) << "element " << i;
  }
}

struct LayerCase {
  std::string op;
  Shape x, w;
  std::int64_t channels;
  Attributes attributes;
};

std::vector<LayerCase> layer_cases() {
  std::vector<LayerCase> cases;
  for (std::int64_t group : {1, 2, 4}) {
    cases.push_back({"Conv", {2, 4, 6, 5}, {8, 4 / group, 3, 2}, 8, {{"group", group}}});
    cases.push_back({"ConvTranspose", {2, 4, 3, 4}, {4, 8 / group, 2, 3}, 8, {{"group", group}}});
  }
  cases.push_back({"Conv", {2, 4, 9}, {4, 1, 3}, 4, {{"group", std::int64_t{4}}}});
  for (std::int64_t trans_b : {0, 1}) {
    for (std::int64_t trans_a : {0, 1}) {
      cases.push_back({"Gemm", trans_a ? Shape{7, 3} : Shape{3, 7}, trans_b ? Shape{5, 7} : Shape{7, 5}, 5,
                       {{"transA", trans_a}, {"transB", trans_b}, {"alpha", 0.5f}, {"beta", -2.0f}}});
    }
  }
  return cases;
}

TEST(FoldBatchNorm, KeepsTheFunctionOfEveryLayerKind) {
  for (const LayerCase& c : layer_cases()) {
    for (bool bias : {false, true}) {
      SCOPED_TRACE(c.op + (bias ? " with bias" : " without bias"));
      Graph graph;
      const ValueId x = add_input(graph, "x", c.x);
      std::vector<ValueId> inputs = {x, graph.add_constant("w", random_tensor(c.w, 1))};
      if (bias) inputs.push_back(graph.add_constant("b", random_tensor({c.channels}, 2)));
      const ValueId y = add_node(graph, c.op, "layer", inputs, c.attributes);
      const ValueId z = add_node(graph, "BatchNormalization", "bn",
                                 {y, graph.add_constant("gamma", random_tensor({c.channels}, 3, -2, 2)),
                                  graph.add_constant("beta", random_tensor({c.channels}, 4)),
                                  graph.add_constant("mean", random_tensor({c.channels}, 5)),
                                  graph.add_constant("var", random_tensor({c.channels}, 6, 0.1f, 2))},
                                 {{"epsilon", 1e-3f}});
      graph.outputs = {z};
      const Graph before = graph.clone();
      const Result<int> folded = fold_batch_norm(graph);
      ASSERT_TRUE(folded.ok());
      EXPECT_EQ(*folded, 1);
      ASSERT_EQ(graph.nodes.size(), 1u);
      EXPECT_EQ(graph.value(graph.outputs[0]).name, "bn_out");
      ASSERT_TRUE(graph::verify(graph, "test").ok());
      const Tensor input = random_tensor(c.x, 7);
      const auto expected = run_graph(before, {input});
      const auto found = run_graph(graph, {input});
      ASSERT_TRUE(expected.ok() && found.ok());
      expect_near((*expected)[0], (*found)[0], 1e-4f);
    }
  }
}

TEST(FoldBatchNorm, LeavesValuesThatOthersRead) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {1, 2, 4, 4});
  const ValueId y = add_node(graph, "Conv", "conv", {x, graph.add_constant("w", random_tensor({2, 2, 1, 1}, 1))});
  const ValueId ones = graph.add_constant("ones", Tensor::from<float>({2}, {1, 1}));
  const ValueId z = add_node(graph, "BatchNormalization", "bn", {y, ones, ones, ones, ones});
  graph.outputs = {z, y};
  const Result<int> folded = fold_batch_norm(graph);
  ASSERT_TRUE(folded.ok());
  EXPECT_EQ(*folded, 0);
  EXPECT_EQ(graph.nodes.size(), 2u);
}

TEST(FoldBatchNorm, DoesNotTouchWeightsThatAnotherLayerShares) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {1, 2, 4, 4});
  const ValueId w = graph.add_constant("w", random_tensor({2, 2, 1, 1}, 1));
  const ValueId twos = graph.add_constant("twos", Tensor::from<float>({2}, {2, 2}));
  const ValueId a = add_node(graph, "Conv", "a", {x, w});
  const ValueId b = add_node(graph, "BatchNormalization", "bn", {a, twos, twos, twos, twos});
  const ValueId c = add_node(graph, "Conv", "c", {x, w});
  graph.outputs = {b, c};
  const Graph before = graph.clone();
  ASSERT_TRUE(fold_batch_norm(graph).ok());
  const Tensor input = random_tensor({1, 2, 4, 4}, 3);
  const auto expected = run_graph(before, {input}), found = run_graph(graph, {input});
  ASSERT_TRUE(expected.ok() && found.ok());
  for (int i : {0, 1}) expect_near((*expected)[i], (*found)[i], 1e-5f);
}

TEST(FoldGemmFactors, MovesAlphaAndBetaIntoConstants) {
  for (const LayerCase& c : layer_cases()) {
    if (c.op != "Gemm") continue;
    Graph graph;
    const ValueId x = add_input(graph, "x", c.x);
    graph.outputs = {add_node(graph, "Gemm", "g", {x, graph.add_constant("w", random_tensor(c.w, 1)), graph.add_constant("b", random_tensor({c.channels}, 2))}, c.attributes)};
    const Graph before = graph.clone();
    ASSERT_TRUE(fold_gemm_factors(graph).ok());
    EXPECT_FALSE(graph.nodes[0].has("alpha"));
    EXPECT_FALSE(graph.nodes[0].has("beta"));
    const Tensor input = random_tensor(c.x, 7);
    const auto expected = run_graph(before, {input}), found = run_graph(graph, {input});
    ASSERT_TRUE(expected.ok() && found.ok());
    expect_near((*expected)[0], (*found)[0], 1e-5f);
  }
}

TEST(RemoveNoOps, KeepsInputAndOutputNames) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {2, 3});
  const ValueId a = add_node(graph, "Identity", "first", {x});
  const ValueId b = add_node(graph, "MatMul", "product", {a, graph.add_constant("w", random_tensor({3, 3}, 1))});
  const ValueId c = add_node(graph, "Identity", "last", {b});
  graph.outputs = {c};
  const Result<int> removed = remove_no_ops(graph);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, 2);
  ASSERT_EQ(graph.nodes.size(), 1u);
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "last_out");
  EXPECT_EQ(graph.value(graph.nodes[0].inputs[0]).name, "x");
  EXPECT_TRUE(graph::verify(graph, "test").ok());
}

TEST(RemoveNoOps, KeepsAnIdentityBetweenInputAndOutput) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {2, 3});
  graph.outputs = {add_node(graph, "Identity", "only", {x})};
  ASSERT_TRUE(remove_no_ops(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 1u);
}

TEST(RemoveNoOps, CancelsInverseTransposesOnly) {
  for (bool inverse : {true, false}) {
    Graph graph;
    const ValueId x = add_input(graph, "x", {2, 3, 4});
    const std::vector<std::int64_t> perm{1, 2, 0}, back = inverse ? std::vector<std::int64_t>{2, 0, 1} : perm;
    const ValueId a = add_node(graph, "Transpose", "a", {x}, {{"perm", perm}});
    const ValueId b = add_node(graph, "Transpose", "b", {a}, {{"perm", back}});
    graph.outputs = {add_node(graph, "MatMul", "m", {b, graph.add_constant("w", random_tensor({inverse ? 4 : 2, 2}, 1))})};
    ASSERT_TRUE(remove_no_ops(graph).ok());
    EXPECT_EQ(graph.nodes.size(), inverse ? 1u : 3u);
  }
}

QdqPlan conv_plan(const Graph& graph, ValueId x, ValueId w, ValueId y) {
  const QuantType u8{.storage_type = DType::kU8, .quant_min = 0, .quant_max = 255};
  const QuantType s8{.storage_type = DType::kS8, .granularity = Granularity::per_channel(0), .symmetric = true, .quant_min = -127, .quant_max = 127};
  QdqPlan plan;
  plan.activations.push_back({x, u8, {{0.5f}, {3}}, false, {{0, 0}}});
  plan.activations.push_back({y, u8, {{0.5f}, {3}}, true, {}});
  plan.constants.push_back({w, s8, {{0.1f, 0.2f}, {0, 0}}, *Tensor::create(DType::kS8, graph.constant(w)->shape()), {{0, 1}}});
  return plan;
}

TEST(InsertQdq, StoresIntegersOnlyAndKeepsOutputNames) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {1, 2, 4, 4});
  const ValueId w = graph.add_constant("w", random_tensor({2, 2, 1, 1}, 1));
  const ValueId y = add_node(graph, "Conv", "conv", {x, w});
  graph.outputs = {y};
  ASSERT_TRUE(insert_qdq(graph, conv_plan(graph, x, w, y)).ok());
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "conv_out");
  EXPECT_EQ(graph.find_value("w"), kNoValue) << "the float weight should be gone";
  int scalar_scales = 0, floats = 0;
  for (const graph::Value& value : graph.values) {
    if (!value.constant || value.constant->dtype() != DType::kF32) continue;
    scalar_scales += value.constant->rank() == 0;
    floats += value.constant->rank() > 1;
  }
  EXPECT_EQ(scalar_scales, 1) << "equal scales are stored once";
  EXPECT_EQ(floats, 0);
  std::map<std::string, int> count;
  for (const Node& node : graph.nodes) ++count[node.op_type];
  EXPECT_EQ(count["QuantizeLinear"], 2);
  EXPECT_EQ(count["DequantizeLinear"], 3);
}

TEST(QdqToQoperator, MakesOneIntegerConvolution) {
  graph::Model model;
  Graph& graph = model.graph;
  const ValueId x = add_input(graph, "x", {1, 2, 4, 4});
  const ValueId w = graph.add_constant("w", random_tensor({2, 2, 1, 1}, 1));
  const ValueId y = add_node(graph, "Conv", "conv", {x, w});
  graph.outputs = {y};
  ASSERT_TRUE(insert_qdq(graph, conv_plan(graph, x, w, y)).ok());
  ASSERT_TRUE(qdq_to_qoperator(model).ok());
  ASSERT_EQ(graph.nodes.size(), 3u);
  EXPECT_EQ(graph.nodes[0].op_type, "QuantizeLinear");
  EXPECT_EQ(graph.nodes[1].op_type, "QLinearConv");
  EXPECT_EQ(graph.nodes[1].inputs.size(), 8u);
  EXPECT_EQ(graph.nodes[2].op_type, "DequantizeLinear");
}

}  // namespace
}  // namespace narrow::passes
