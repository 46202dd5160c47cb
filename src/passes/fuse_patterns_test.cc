#include <gtest/gtest.h>

#include <cmath>

#include "passes/passes.h"
#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using testing::add_input;
using testing::add_node;
using testing::Graph;
using testing::Node;
using testing::random_tensor;
using testing::run_graph;
using testing::ValueId;

int count(const Graph& graph, const std::string& op) {
  int n = 0;
  for (const Node& node : graph.nodes) n += node.op_type == op;
  return n;
}

// Fuses, expects so many fused nodes, and the same numbers as before.
Graph expect_fused(const Graph& graph, const std::vector<Tensor>& inputs, int fused, float tolerance) {
  Graph changed = graph.clone();
  const Result<int> done = fuse_patterns(changed);
  EXPECT_TRUE(done.ok());
  EXPECT_EQ(*done, fused);
  const auto want = run_graph(graph, inputs), got = run_graph(changed, inputs);
  EXPECT_TRUE(want.ok() && got.ok()) << graph::print(changed);
  if (!want.ok() || !got.ok()) return changed;
  for (std::size_t o = 0; o < want->size(); ++o) {
    const std::vector<float> a = (*want)[o].to_float(), b = (*got)[o].to_float();
    EXPECT_EQ((*want)[o].shape(), (*got)[o].shape());
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * (1 + std::fabs(a[i]))) << i;
  }
  return changed;
}

ValueId number(Graph& graph, const std::string& name, float value) { return graph.add_constant(name, Tensor::scalar<float>(value)); }

TEST(FusePatterns, GeluInEachOrder) {
  for (int form = 0; form < 4; ++form) {
    Graph graph;
    const ValueId x = add_input(graph, "x", {3, 40});
    const ValueId inside = form % 2 == 0 ? add_node(graph, "Div", "div", {x, number(graph, "root", 1.41421356f)})
                                         : add_node(graph, "Mul", "scale", {number(graph, "root", 0.70710678f), x});
    const ValueId gate = add_node(graph, "Add", "gate", {add_node(graph, "Erf", "erf", {inside}), number(graph, "one", 1)});
    const ValueId half = number(graph, "half", 0.5f);
    const ValueId y = form < 2 ? add_node(graph, "Mul", "out", {add_node(graph, "Mul", "product", {gate, x}), half})
                               : add_node(graph, "Mul", "out", {add_node(graph, "Mul", "halved", {half, x}), gate});
    graph.outputs = {y};
    const Graph changed = expect_fused(graph, {random_tensor({3, 40}, 1, -5, 5)}, 1, 2e-6f);
    EXPECT_EQ(changed.nodes.size(), 1u) << form;
    EXPECT_EQ(count(changed, "Gelu"), 1);
  }
}

TEST(FusePatterns, OtherNumbersAreNoGelu) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {3, 40});
  const ValueId erf = add_node(graph, "Erf", "erf", {add_node(graph, "Div", "div", {x, number(graph, "two", 2)})});
  const ValueId product = add_node(graph, "Mul", "product", {x, add_node(graph, "Add", "gate", {erf, number(graph, "one", 1)})});
  graph.outputs = {add_node(graph, "Mul", "out", {product, number(graph, "half", 0.5f)})};
  expect_fused(graph, {random_tensor({3, 40}, 1, -5, 5)}, 0, 0);
}

TEST(FusePatterns, NanIsReplacedInOnePass) {
  Graph graph;
  const ValueId x = add_input(graph, "x", {5, 9});
  graph.outputs = {add_node(graph, "Where", "where", {add_node(graph, "IsNaN", "test", {x}), number(graph, "other", 0.25f), x})};
  Tensor values = random_tensor({5, 9}, 2);
  for (std::size_t i : {0, 17, 44}) values.mutable_data<float>()[i] = NAN;
  const Graph changed = expect_fused(graph, {values}, 1, 0);
  EXPECT_EQ(changed.nodes.size(), 1u);
}

TEST(FusePatterns, DynamicProductsTakeScalesAndBias) {
  for (const bool per_column : {false, true}) {
    Graph graph;
    const ValueId x = add_input(graph, "x", {2, 6, 20});
    Node quantize;
    quantize.op_type = "DynamicQuantizeLinear";
    quantize.name = "quantize";
    quantize.inputs = {x};
    for (const char* name : {"codes", "scale", "zero"}) quantize.outputs.push_back(graph.add_value(name, {}));
    const std::vector<ValueId> quantized = quantize.outputs;
    graph.nodes.push_back(quantize);
    Tensor codes = *Tensor::create(DType::kS8, {20, 12});
    for (std::size_t i = 0; i < 240; ++i) codes.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
    std::vector<float> scales(per_column ? 12 : 1), biases(12);
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.01f + 0.001f * static_cast<float>(i);
    for (std::size_t i = 0; i < biases.size(); ++i) biases[i] = static_cast<float>(i) - 5;
    const ValueId w = graph.add_constant("w", codes), w_zero = graph.add_constant("w_zero", Tensor::scalar<std::int8_t>(3));
    const ValueId w_scale = graph.add_constant("w_scale", Tensor::from<float>({static_cast<std::int64_t>(scales.size())}, std::span<const float>(scales)));
    const ValueId sum = add_node(graph, "MatMulInteger", "product", {quantized[0], w, quantized[2], w_zero});
    const ValueId real = add_node(graph, "Cast", "cast", {sum}, {{"to", std::int64_t{1}}});
    const ValueId scaled = add_node(graph, "Mul", "scaled", {real, add_node(graph, "Mul", "scales", {quantized[1], w_scale})});
    graph.outputs = {add_node(graph, "Add", "biased", {graph.add_constant("bias", Tensor::from<float>({12}, std::span<const float>(biases))), scaled})};
    const Graph changed = expect_fused(graph, {random_tensor({2, 6, 20}, 3)}, 2, 1e-6f);
    EXPECT_EQ(count(changed, "MatMulIntegerToFloat"), 1);
    EXPECT_EQ(changed.nodes.size(), 2u);
  }
}

}  // namespace
}  // namespace narrow::passes
