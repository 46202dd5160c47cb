// The oldest opset that can say what a node means.
#include "formats/onnx/lower.h"

#include <gtest/gtest.h>

namespace narrow::formats::onnx {
namespace {

graph::Graph one_node(const char* op, DType dtype, std::vector<graph::Attribute> attributes = {}, std::size_t inputs = 2) {
  graph::Graph graph;
  graph::Node node;
  node.name = "n";
  node.op_type = op;
  node.attributes = std::move(attributes);
  for (std::size_t i = 0; i < inputs; ++i) {
    node.inputs.push_back(graph.add_value("x", graph::Type::tensor(dtype)));
    graph.inputs.push_back(node.inputs.back());
  }
  node.outputs = {graph.add_value("y", graph::Type::tensor(dtype))};
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  return graph;
}

TEST(OnnxLower, NewMeaningsOfOldOperatorsNeedTheirOpset) {
  const std::vector<graph::Attribute> left = {{"direction", std::string("LEFT")}}, fmod = {{"fmod", std::int64_t{1}}};
  EXPECT_EQ(required_opset(one_node("BitShift", DType::kU8, left), 13), 13);
  EXPECT_EQ(required_opset(one_node("BitShift", DType::kS8, left), 13), 28);
  EXPECT_EQ(required_opset(one_node("Mod", DType::kS32), 13), 13);
  EXPECT_EQ(required_opset(one_node("Mod", DType::kF32, fmod), 13), 13);
  EXPECT_EQ(required_opset(one_node("Mod", DType::kF32), 13), 28);
  EXPECT_EQ(required_opset(one_node("SpaceToDepth", DType::kF32, {{"mode", std::string("CRD")}}, 1), 13), 28);
  graph::Graph graph = one_node("SpaceToDepth", DType::kF32, {{"mode", std::string("DCR")}}, 1);
  EXPECT_EQ(required_opset(graph, 13), 13);
  lower(graph, 13);
  EXPECT_FALSE(graph.nodes[0].has("mode"));
}

}  // namespace
}  // namespace narrow::formats::onnx
