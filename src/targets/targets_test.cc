#include "targets/target.h"

#include <gtest/gtest.h>

#include <set>

#include "targets/fusion.h"

namespace narrow::targets {
namespace {

TEST(Targets, AreFoundByNameAndSuggestNeighbours) {
  for (const Target& target : targets()) {
    const Result<const Target*> found = find_target(target.name);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ((*found)->name, target.name);
  }
  const Result<const Target*> wrong = find_target("onnxruntme");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message().find("onnxruntime"), std::string::npos);
}

TEST(Targets, TablesNameEachOperatorOnceAndOnlyQuantizableOnes) {
  for (const Target& target : targets()) {
    std::set<std::string_view> seen;
    for (const OperatorRule& rule : target.operators) {
      EXPECT_TRUE(seen.insert(rule.op_type).second) << target.name << ": " << rule.op_type << " twice";
      const operators::Operator* op = operators::find_operator("", rule.op_type);
      if (op == nullptr) continue;
      EXPECT_NE(op->quant.role, operators::QuantRole::kNone) << target.name << " quantizes " << rule.op_type << ", the operator does not say how";
      EXPECT_NE(op->quant.role, operators::QuantRole::kActivation) << rule.op_type;
    }
  }
}

TEST(Targets, TensorRtTakesSymmetricSignedOnly) {
  const Target* target = *find_target("tensorrt");
  EXPECT_TRUE(target->activation.symmetric);
  EXPECT_EQ(target->activation.storage_type, DType::kS8);
  EXPECT_EQ(target->bias, BiasRule::kFloat);
}

// x → Q → DQ → MaxPool → (Q → DQ) → y
graph::Graph pooled(bool quantized_output) {
  graph::Graph graph;
  const graph::Type f32 = graph::Type::tensor(DType::kF32, {1, 2, 4, 4});
  const graph::Type u8 = graph::Type::tensor(DType::kU8, {1, 2, 4, 4});
  const graph::ValueId x = graph.add_value("x", f32);
  graph.inputs = {x};
  const graph::ValueId scale = graph.add_constant("s", Tensor::scalar(0.5f));
  const graph::ValueId zero = graph.add_constant("z", Tensor::scalar<std::uint8_t>(0));
  const auto add = [&](const std::string& op, std::vector<graph::ValueId> inputs, const graph::Type& type) {
    graph::Node node;
    node.op_type = op;
    node.name = op;
    node.inputs = std::move(inputs);
    node.outputs = {graph.add_value(op, type)};
    graph.nodes.push_back(node);
    return node.outputs[0];
  };
  graph::ValueId v = add("DequantizeLinear", {add("QuantizeLinear", {x, scale, zero}, u8), scale, zero}, f32);
  v = add("MaxPool", {v}, f32);
  graph.nodes.back().set("kernel_shape", std::vector<std::int64_t>{2, 2});
  if (quantized_output) v = add("DequantizeLinear", {add("QuantizeLinear", {v, scale, zero}, u8), scale, zero}, f32);
  graph.outputs = {v};
  return graph;
}

TEST(Fusion, NeedsTheOutputQuantizedToo) {
  const Target& target = **find_target("onnxruntime");
  const std::vector<FusedNode> whole = simulate_fusion(pooled(true), target);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_TRUE(whole[0].integer) << whole[0].why_not;
  const std::vector<FusedNode> half = simulate_fusion(pooled(false), target);
  ASSERT_EQ(half.size(), 1u);
  EXPECT_FALSE(half[0].integer);
  EXPECT_NE(half[0].why_not.find("output"), std::string::npos);
}

TEST(Fusion, DescribesFloatOperatorsBetweenIntegerOnes) {
  graph::Graph graph = pooled(true);
  for (graph::Node& node : graph.nodes) {
    if (node.op_type == "MaxPool") node.op_type = "Tanh";
  }
  const std::vector<std::string> islands = describe_islands(graph, **find_target("onnxruntime"));
  ASSERT_EQ(islands.size(), 1u);
  EXPECT_NE(islands[0].find("Tanh"), std::string::npos);
  EXPECT_NE(islands[0].find("64 values"), std::string::npos) << islands[0];
}

}  // namespace
}  // namespace narrow::targets
