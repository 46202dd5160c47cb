#include <gtest/gtest.h>

#include "passes/passes.h"
#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using namespace testing;
using graph::kNoValue;

ValueId add_microsoft(Graph& graph, const std::string& op, std::vector<ValueId> inputs, const Attributes& attributes) {
  const ValueId output = add_node(graph, op, "fused", std::move(inputs), attributes);
  graph.nodes.back().domain = "com.microsoft";
  graph.outputs = {output};
  return output;
}

// Unfuses and expects these operators, the same output and the product under the node's name.
void expect_split(Graph graph, const std::vector<Tensor>& inputs, const std::vector<std::string>& operators, UnfuseScope scope = UnfuseScope::kAll) {
  ASSERT_TRUE(operators::infer_types(graph).ok());
  const Graph before = graph.clone();
  const Result<int> split = unfuse(graph, scope);
  ASSERT_TRUE(split.ok());
  EXPECT_EQ(*split, 1);
  std::vector<std::string> found;
  bool named = false;
  for (const Node& node : graph.nodes) {
    found.push_back(node.op_type);
    named = named || node.name == "fused";
  }
  EXPECT_EQ(found, operators);
  EXPECT_TRUE(named);
  EXPECT_EQ(graph.value(graph.outputs[0]).name, "fused_out");
  ASSERT_TRUE(graph::verify(graph, "test").ok());
  ASSERT_TRUE(operators::infer_types(graph).ok());
  const auto expected = run_graph(before, inputs), result = run_graph(graph, inputs);
  ASSERT_TRUE(expected.ok()) << expected.error().to_string();
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  for (std::size_t o = 0; o < expected->size(); ++o) {
    ASSERT_EQ((*expected)[o].dtype(), (*result)[o].dtype());
    ASSERT_EQ((*expected)[o].shape(), (*result)[o].shape());
    for (std::int64_t i = 0; i < (*expected)[o].size(); ++i) ASSERT_NEAR((*expected)[o].at_as_double(i), (*result)[o].at_as_double(i), 1e-5) << "element " << i;
  }
}

void expect_left(Graph graph, UnfuseScope scope = UnfuseScope::kAll) {
  ASSERT_TRUE(operators::infer_types(graph).ok());
  const std::string before = graph::print(graph);
  EXPECT_EQ(*unfuse(graph, scope), 0);
  EXPECT_EQ(graph::print(graph), before);
}

TEST(Unfuse, SplitsConvolutions) {
  struct Row {
    std::string activation;
    std::vector<float> parameters;
  };
  for (const Row& row : {Row{"Relu", {}}, Row{"Clip", {-0.25f, 0.5f}}, Row{"LeakyRelu", {0.3f}}, Row{"HardSigmoid", {0.3f, 0.4f}}, Row{"Tanh", {}}}) {
    for (const bool with_sum : {false, true}) {
      Graph graph;
      const Tensor x = random_tensor({1, 2, 5, 5}, 1), z = random_tensor({1, 3, 3, 3}, 2);
      std::vector<ValueId> inputs = {add_input(graph, "x", x.shape()), graph.add_constant("w", random_tensor({3, 2, 3, 3}, 3)), graph.add_constant("b", random_tensor({3}, 4))};
      if (with_sum) inputs.push_back(add_input(graph, "z", z.shape()));
      Attributes attributes = {{"activation", row.activation}};
      if (!row.parameters.empty()) attributes.push_back({"activation_params", row.parameters});
      add_microsoft(graph, "FusedConv", inputs, attributes);
      std::vector<std::string> expected = {"Conv", row.activation};
      if (with_sum) expected.insert(expected.begin() + 1, "Add");
      const std::vector<Tensor> given = with_sum ? std::vector<Tensor>{x, z} : std::vector<Tensor>{x};
      expect_split(graph.clone(), given, expected);
      expect_split(graph.clone(), given, expected, UnfuseScope::kConvolutions);
    }
  }
}

TEST(Unfuse, SplitsMatrixProducts) {
  const Tensor x = random_tensor({3, 4}, 1);
  {
    Graph graph;
    add_microsoft(graph, "FusedGemm", {add_input(graph, "x", x.shape()), graph.add_constant("w", random_tensor({4, 5}, 2))},
                  {{"activation", std::string("Elu")}, {"activation_alpha", 0.4f}, {"alpha", 0.5f}});
    expect_split(graph.clone(), {x}, {"Gemm", "Elu"});
    expect_left(graph.clone(), UnfuseScope::kConvolutions);
  }
  for (const std::int64_t transposed : {0, 1}) {
    for (const float alpha : {1.0f, -0.5f}) {
      Graph graph;
      add_microsoft(graph, "FusedMatMul", {add_input(graph, "x", x.shape()), graph.add_constant("w", random_tensor(transposed != 0 ? Shape{5, 4} : Shape{4, 5}, 2))},
                    {{"transB", transposed}, {"alpha", alpha}});
      std::vector<std::string> expected = {"MatMul"};
      if (transposed != 0) expected.insert(expected.begin(), "Transpose");
      if (alpha != 1) expected.push_back("Mul");
      expect_split(graph.clone(), {x}, expected);
    }
  }
}

TEST(Unfuse, SplitsTheProjectionOffAttention) {
  const Tensor x = random_tensor({2, 3, 6}, 1);
  Tensor mask = *Tensor::create(DType::kS32, {2, 3});
  mask.mutable_data<std::int32_t>()[0] = mask.mutable_data<std::int32_t>()[4] = 1;
  for (const bool with_mask : {false, true}) {
    for (const bool uneven : {false, true}) {
      Graph graph;
      const std::int64_t columns = uneven ? 8 + 8 + 4 : 24;
      std::vector<ValueId> inputs = {add_input(graph, "x", x.shape()), graph.add_constant("w", random_tensor({6, columns}, 2)), graph.add_constant("b", random_tensor({columns}, 3))};
      if (with_mask) {
        inputs.push_back(graph.add_value("mask", graph::Type::of(mask)));
        graph.inputs.push_back(inputs.back());
      }
      Attributes attributes = {{"num_heads", std::int64_t{2}}, {"unidirectional", std::int64_t{1}}, {"scale", 0.4f}, {"mask_filter_value", -3.0f}};
      if (uneven) attributes.push_back({"qkv_hidden_sizes", std::vector<std::int64_t>{8, 8, 4}});
      add_microsoft(graph, "Attention", inputs, attributes);
      expect_split(graph.clone(), with_mask ? std::vector<Tensor>{x, mask} : std::vector<Tensor>{x}, {"MatMul", "Add", "Split", "MultiHeadAttention"});
    }
  }
}

TEST(Unfuse, SplitsEmbeddings) {
  const auto ids = [](std::vector<std::int32_t> values) { return Tensor::from<std::int32_t>({2, 3}, std::span<const std::int32_t>(values)); };
  const Tensor tokens = ids({0, 4, 2, 1, 1, 3}), kinds = ids({0, 0, 1, 1, 0, 1}), mask = ids({1, 1, 0, 1, 0, 0}), places = ids({2, 1, 0, 4, 4, 3});
  for (int options = 0; options < 8; ++options) {
    const bool with_segments = options & 1, with_places = options & 2, with_mask = options & 4;
    Graph graph;
    std::vector<Tensor> given;
    const auto input = [&](const char* name, const Tensor& value, bool used) {
      if (!used) return kNoValue;
      graph.inputs.push_back(graph.add_value(name, graph::Type::of(value)));
      given.push_back(value);
      return graph.inputs.back();
    };
    std::vector<ValueId> inputs = {input("ids", tokens, true), input("kinds", kinds, with_segments), graph.add_constant("words", random_tensor({5, 4}, 1)),
                                   graph.add_constant("positions", random_tensor({5, 4}, 2)), with_segments ? graph.add_constant("segments", random_tensor({2, 4}, 3)) : kNoValue,
                                   graph.add_constant("gamma", random_tensor({4}, 4)), graph.add_constant("beta", random_tensor({4}, 5)), input("mask", mask, with_mask),
                                   input("places", places, with_places)};
    add_microsoft(graph, "EmbedLayerNormalization", inputs, {{"epsilon", 1e-5f}});
    if (with_mask) {
      graph.nodes.back().outputs.push_back(graph.add_value("count", {}));
      graph.outputs.push_back(graph.nodes.back().outputs[1]);
    }
    std::vector<std::string> expected = {"Gather"};
    if (with_segments) expected.insert(expected.end(), {"Gather", "Add"});
    if (!with_places) expected.insert(expected.end(), {"Shape", "Gather", "Range"});
    expected.push_back("Gather");
    if (with_mask) expected.insert(expected.end(), {"Equal", "Cast", "ReduceSum"});
    expected.push_back("SkipLayerNormalization");
    expect_split(graph.clone(), given, expected);
  }
}

TEST(Unfuse, LeavesWhatHasNoSuchParts) {
  {
    Graph graph;
    add_microsoft(graph, "FusedMatMul", {add_input(graph, "x", {3, 4}), add_input(graph, "y", {4, 5})}, {});
    expect_left(graph.clone());
  }
  {
    Graph graph;
    add_microsoft(graph, "FusedMatMul", {add_input(graph, "x", {4, 3}), graph.add_constant("w", random_tensor({4, 5}, 2))}, {{"transA", std::int64_t{1}}});
    expect_left(graph.clone());
  }
  {  // a mask of ends and starts is Attention's alone
    Graph graph;
    const ValueId mask = graph.add_value("mask", graph::Type::tensor(DType::kS32, {graph::Dim(4)}));
    graph.inputs.push_back(mask);
    add_microsoft(graph, "Attention", {add_input(graph, "x", {2, 3, 6}), graph.add_constant("w", random_tensor({6, 24}, 2)), kNoValue, mask}, {{"num_heads", std::int64_t{2}}});
    expect_left(graph.clone());
  }
}

}  // namespace
}  // namespace narrow::passes
