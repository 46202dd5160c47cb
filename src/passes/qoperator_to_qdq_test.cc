#include "passes/qoperator_to_qdq.h"

#include <gtest/gtest.h>

#include <random>

#include "passes/qdq_to_qoperator.h"
#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using testing::add_input;
using testing::add_node;
using testing::Attributes;
using testing::Graph;
using testing::random_tensor;
using testing::run_graph;
using testing::ValueId;
using Ints = std::vector<std::int64_t>;

struct Builder {
  Graph graph;
  int made = 0;

  std::string name(const std::string& base) { return base + std::to_string(made++); }
  ValueId node(const std::string& op, std::vector<ValueId> inputs, const Attributes& attributes = {}) {
    return add_node(graph, op, name(op), std::move(inputs), attributes);
  }
  ValueId qdq(ValueId x, float scale, std::uint8_t zero) {
    const ValueId s = graph.add_constant(name("scale"), Tensor::scalar<float>(scale)), z = graph.add_constant(name("zero"), Tensor::scalar<std::uint8_t>(zero));
    return node("DequantizeLinear", {node("QuantizeLinear", {x, s, z}), s, z});
  }
  ValueId weight(const Shape& shape, std::int64_t axis, unsigned seed) {
    std::mt19937 random(seed);
    Tensor codes = *Tensor::create(DType::kS8, shape);
    for (std::int8_t& c : codes.mutable_data<std::int8_t>()) c = static_cast<std::int8_t>(static_cast<int>(random() % 255) - 127);
    const std::int64_t channels = shape[static_cast<std::size_t>(axis)];
    Tensor scale = *Tensor::create(DType::kF32, {channels});
    for (float& s : scale.mutable_data<float>()) s = 0.001f + static_cast<float>(random() % 100) / 20000;
    return node("DequantizeLinear", {graph.add_constant(name("w"), codes), graph.add_constant(name("ws"), scale), graph.add_constant(name("wz"), *Tensor::create(DType::kS8, {channels}))},
                {{"axis", axis}});
  }
};

bool has(const Graph& graph, std::string_view op) {
  for (const graph::Node& node : graph.nodes) {
    if (node.op_type == op) return true;
  }
  return false;
}

// QDQ → QOperator → QDQ: every operator comes back, and the numbers stay.
TEST(QOperatorToQdq, UndoesTheOtherWay) {
  Builder b;
  const ValueId x = add_input(b.graph, "x", {1, 3, 8, 8});
  ValueId at = b.qdq(x, 0.02f, 128);
  ValueId conv = b.qdq(b.node("Conv", {at, b.weight({8, 3, 3, 3}, 0, 1)}, {{"pads", Ints{1, 1, 1, 1}}}), 0.05f, 120);
  ValueId gate = b.qdq(b.node("Sigmoid", {conv}), 1.0f / 256, 0);
  ValueId product = b.qdq(b.node("Mul", {conv, gate}), 0.04f, 30);
  ValueId sum = b.qdq(b.node("Add", {product, conv}), 0.08f, 90);
  ValueId both = b.qdq(b.node("Concat", {sum, conv}, {{"axis", std::int64_t{1}}}), 0.08f, 90);
  ValueId pooled = b.qdq(b.node("GlobalAveragePool", {both}), 0.05f, 100);
  ValueId flat = b.node("Flatten", {pooled});
  ValueId y = b.qdq(b.node("Gemm", {b.qdq(flat, 0.05f, 100), b.weight({16, 5}, 1, 2)}), 0.03f, 110);
  b.graph.outputs = {y};
  graph::Model model;
  model.graph = b.graph.clone();
  ASSERT_TRUE(qdq_to_qoperator(model).ok());
  ASSERT_TRUE(has(model.graph, "QLinearConv") && has(model.graph, "QLinearAdd") && has(model.graph, "QLinearConcat") && has(model.graph, "QLinearMul"));
  Graph back = model.graph.clone();
  const auto count = qoperator_to_qdq(back);
  ASSERT_TRUE(count.ok()) << count.error().to_string();
  EXPECT_GE(*count, 6);
  for (const graph::Node& node : back.nodes) {
    EXPECT_FALSE(node.op_type.starts_with("QLinear") || node.op_type == "QGemm") << node.op_type;
  }
  for (unsigned seed = 0; seed < 4; ++seed) {
    const Tensor input = random_tensor({1, 3, 8, 8}, seed);
    const auto before = run_graph(b.graph, {input}), after = run_graph(back, {input});
    ASSERT_TRUE(before.ok() && after.ok());
    const std::vector<float> expected = (*before)[0].to_float(), found = (*after)[0].to_float();
    ASSERT_EQ(expected.size(), found.size());
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(expected[i], found[i], 1e-6f);
  }
}

TEST(QOperatorToQdq, KeepsTheNamesOfFloatValues) {
  Builder b;
  const ValueId x = add_input(b.graph, "x", {1, 2, 4, 4});
  const ValueId s = b.graph.add_constant("s", Tensor::scalar<float>(0.1f)), z = b.graph.add_constant("z", Tensor::scalar<std::uint8_t>(3));
  const ValueId codes = b.node("QuantizeLinear", {x, s, z});
  graph::Node node{"sigmoid", "QLinearSigmoid", "com.microsoft", {codes, s, z, s, z}, {b.graph.add_value("gate_quantized", graph::Type::tensor(DType::kU8))}, {}, "", {}};
  b.graph.nodes.push_back(node);
  const ValueId y = b.node("DequantizeLinear", {node.outputs[0], s, z});
  b.graph.outputs = {y};
  ASSERT_EQ(*qoperator_to_qdq(b.graph), 1);
  EXPECT_NE(b.graph.find_value("gate"), graph::kNoValue);
}

}  // namespace
}  // namespace narrow::passes
