#include "graph/graph.h"

#include <gtest/gtest.h>

namespace narrow::graph {
namespace {

Type f32(std::vector<Dim> dims) { return Type::tensor(DType::kF32, std::move(dims)); }

// x -> a -> b -> out, with a dead branch d reading a.
Graph chain() {
  Graph g;
  const ValueId x = g.add_value("x", f32({Dim("N"), 4}));
  const ValueId a = g.add_value("a", f32({Dim("N"), 4}));
  const ValueId b = g.add_value("b", f32({Dim("N"), 4}));
  const ValueId d = g.add_value("d", f32({Dim("N"), 4}));
  const ValueId unused = g.add_constant("unused", Tensor::scalar<float>(1));
  (void)unused;
  g.inputs = {x};
  g.outputs = {b};
  g.nodes.push_back({.name = "n_a", .op_type = "Relu", .inputs = {x}, .outputs = {a}});
  g.nodes.push_back({.name = "n_d", .op_type = "Relu", .inputs = {a}, .outputs = {d}});
  g.nodes.push_back({.name = "n_b", .op_type = "Sigmoid", .inputs = {a}, .outputs = {b}});
  return g;
}

TEST(Graph, NamesAreUniqueAndFound) {
  Graph g;
  const ValueId a = g.add_value("a", {});
  const ValueId again = g.add_value("a", {});
  EXPECT_EQ(g.value(again).name, "a_1");
  EXPECT_EQ(g.find_value("a"), a);
  EXPECT_EQ(g.find_value("zzz"), kNoValue);
  g.rename_value(a, "b");
  EXPECT_EQ(g.find_value("a"), kNoValue);
  EXPECT_EQ(g.find_value("b"), a);
}

TEST(RemoveDead, DropsUnreadNodesAndValuesOnly) {
  Graph g = chain();
  EXPECT_EQ(remove_dead(g), 1);
  ASSERT_EQ(g.nodes.size(), 2u);
  EXPECT_EQ(g.values.size(), 3u);
  EXPECT_EQ(g.find_value("d"), kNoValue);
  EXPECT_EQ(g.find_value("unused"), kNoValue);
  EXPECT_NE(g.find_value("b"), kNoValue);
  EXPECT_TRUE(verify(g, "test").ok());
}

TEST(RemoveDead, KeepsWhatASubgraphCaptures) {
  Graph g = chain();
  auto body = std::make_shared<Graph>();
  const ValueId captured = body->add_value("d", {});
  body->value(captured).captured = true;
  body->outputs = {captured};
  const ValueId out = g.add_value("chosen", f32({}));
  Node node{.name = "if", .op_type = "If", .inputs = {g.add_constant("cond", Tensor::scalar<bool>(true))}, .outputs = {out}};
  node.set("then_branch", body);
  g.nodes.push_back(node);
  g.outputs.push_back(out);
  EXPECT_EQ(remove_dead(g), 0);
  EXPECT_NE(g.find_value("d"), kNoValue);
}

TEST(Verify, NamesWhatIsWrong) {
  Graph late = chain();
  std::swap(late.nodes[0], late.nodes[2]);
  const Status order = verify(late, "m.onnx");
  ASSERT_FALSE(order.ok());
  EXPECT_NE(order.error().message().find("m.onnx: node 'n_b' (Sigmoid) reads 'a'"), std::string::npos);
  EXPECT_TRUE(sort_topologically(late).ok());
  EXPECT_TRUE(verify(late, "m.onnx").ok());

  Graph twice = chain();
  twice.nodes[1].outputs = twice.nodes[0].outputs;
  EXPECT_EQ(verify(twice, "m").error().code(), ErrorCode::kCorrupt);

  Graph no_output = chain();
  no_output.nodes.pop_back();
  EXPECT_NE(verify(no_output, "m").error().message().find("graph output 'b'"), std::string::npos);
}

TEST(SortTopologically, ReportsACycle) {
  Graph g = chain();
  g.nodes[0].inputs[0] = g.find_value("b");
  const Status status = sort_topologically(g);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kCorrupt);
}

TEST(Clone, SharesBytesButNotStructure) {
  Graph g = chain();
  auto body = std::make_shared<Graph>();
  g.nodes[0].set("body", body);
  Graph copy = g.clone();
  copy.nodes[0].get_graph("body")->name = "changed";
  copy.nodes.pop_back();
  EXPECT_EQ(body->name, "");
  EXPECT_EQ(g.nodes.size(), 3u);
  EXPECT_EQ(copy.constant(copy.find_value("unused"))->raw(), g.constant(g.find_value("unused"))->raw());
}

TEST(Uses, CountsReadersOutputsAndProducers) {
  const Graph g = chain();
  const Uses uses(g);
  EXPECT_EQ(uses.producer[g.find_value("x")], -1);
  EXPECT_EQ(uses.producer[g.find_value("b")], 2);
  EXPECT_EQ(uses.readers[g.find_value("a")].size(), 2u);
  EXPECT_TRUE(uses.is_output[g.find_value("b")]);
}

TEST(Types, Text) {
  EXPECT_EQ(to_string(f32({Dim("N"), 3, Dim(), 224})), "f32[N,3,?,224]");
  EXPECT_EQ(to_string(Type::tensor(DType::kS64)), "s64[*]");
  EXPECT_EQ(to_string(Type()), "?");
}

}  // namespace
}  // namespace narrow::graph
