#include "evaluation/inventory.h"

#include <gtest/gtest.h>

#include "evaluation/test_models.h"
#include "operators/infer.h"

namespace narrow::evaluation {
namespace {

using testing::append;
using testing::make_net;

const SizeClass* find(const std::vector<SizeClass>& classes, const std::string& name) {
  for (const SizeClass& entry : classes) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

TEST(Inventory, CountsAFloatModel) {
  graph::Graph net = make_net(6);
  ASSERT_TRUE(operators::infer_types(net).ok());
  EXPECT_EQ(count_parameters(net), 72u);
  EXPECT_FALSE(is_quantized(net));
  const auto operators = count_operators(net);
  ASSERT_EQ(operators.size(), 1u);
  EXPECT_EQ(operators[0].op_type, "MatMul");
  EXPECT_EQ(operators[0].count, 2u);
  EXPECT_TRUE(operators[0].runnable);
  const auto sizes = size_by_class(net);
  ASSERT_EQ(sizes.size(), 1u);
  EXPECT_EQ(sizes[0].name, "float weights");
  EXPECT_EQ(sizes[0].bytes, 288u);
}

TEST(Inventory, SortsTheTensorsOfAQuantizedModel) {
  graph::Graph graph;
  const graph::ValueId x = graph.add_value("x", graph::Type::tensor(DType::kF32, {1, 1, 4, 4}));
  graph.inputs = {x};
  const auto s = graph.add_constant("s", Tensor::scalar<float>(0.1f));
  const auto z = graph.add_constant("z", Tensor::scalar<std::int8_t>(0));
  const auto zb = graph.add_constant("zb", Tensor::scalar<std::int32_t>(0));
  const auto w = graph.add_constant("w", *Tensor::create(DType::kS8, {3, 1, 2, 2}));
  const auto b = graph.add_constant("b", *Tensor::create(DType::kS32, {3}));
  const auto shape = graph.add_constant("shape", Tensor::from<std::int64_t>({2}, {1, -1}));
  const auto wf = append(graph, "DequantizeLinear", "wf", {w, s, z});
  const auto bf = append(graph, "DequantizeLinear", "bf", {b, s, zb});
  const auto c = append(graph, "Conv", "c", {x, wf, bf});
  graph.outputs = {append(graph, "Reshape", "y", {c, shape})};
  const auto sizes = size_by_class(graph);
  ASSERT_NE(find(sizes, "int8 weights"), nullptr);
  EXPECT_EQ(find(sizes, "int8 weights")->bytes, 12u);
  EXPECT_EQ(find(sizes, "biases")->bytes, 12u);
  EXPECT_EQ(find(sizes, "scales and zero points")->bytes, 9u);
  EXPECT_EQ(find(sizes, "scales and zero points")->tensors, 3u);
  EXPECT_EQ(find(sizes, "other constants")->bytes, 16u);
  EXPECT_EQ(count_parameters(graph), 15u);
  EXPECT_TRUE(is_quantized(graph));
}

TEST(Inventory, LooksIntoSubgraphs) {
  graph::Graph outer;
  graph::Node branch;
  branch.op_type = "If";
  branch.name = "if";
  branch.set("then_branch", std::make_shared<graph::Graph>(make_net(3)));
  outer.nodes.push_back(branch);
  EXPECT_EQ(count_parameters(outer), 18u);
  const auto operators = count_operators(outer);
  ASSERT_EQ(operators.size(), 2u);
  EXPECT_EQ(operators[0].op_type, "MatMul");
}

}  // namespace
}  // namespace narrow::evaluation
