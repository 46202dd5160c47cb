#include <gtest/gtest.h>

#include <cmath>

#include "passes/passes.h"
#include "passes/run_graph.h"

namespace narrow::passes {
namespace {

using namespace testing;

int count(const Graph& graph, const std::string& op, const std::string& domain = "") {
  int found = 0;
  for (const Node& node : graph.nodes) found += node.op_type == op && node.domain == domain;
  return found;
}

ValueId conv(Graph& graph, const std::string& name, ValueId x, Shape weight, std::int64_t pad = 0, std::int64_t group = 1) {
  const auto seed = static_cast<unsigned>(name.size() * 31 + static_cast<unsigned char>(name.back()));
  const ValueId w = graph.add_constant(name + "_w", random_tensor(weight, seed));
  const ValueId b = graph.add_constant(name + "_b", random_tensor({weight[0]}, seed + 1));
  return add_node(graph, "Conv", name, {x, w, b}, {{"pads", std::vector<std::int64_t>{pad, pad, pad, pad}}, {"group", group}});
}

void expect_same(const Graph& before, const Graph& after, const std::vector<Tensor>& inputs) {
  const auto want = run_graph(before, inputs), found = run_graph(after, inputs);
  ASSERT_TRUE(want.ok()) << want.error().to_string();
  ASSERT_TRUE(found.ok()) << found.error().to_string();
  ASSERT_EQ(want->size(), found->size());
  for (std::size_t o = 0; o < want->size(); ++o) {
    ASSERT_EQ((*want)[o].shape(), (*found)[o].shape());
    for (std::int64_t i = 0; i < (*want)[o].size(); ++i) {
      const float a = (*want)[o].data<float>()[i];
      ASSERT_NEAR((*found)[o].data<float>()[i], a, 1e-4 * std::max(1.0f, std::fabs(a))) << "output " << o << " at " << i;
    }
  }
}

// A little of everything: branches, a residual, broadcasts, pooling, resizing, a value read on both sides of the border.
Graph branching_model() {
  Graph g;
  const ValueId x = add_input(g, "x", {2, 3, 12, 10});
  const ValueId a = add_node(g, "Relu", "relu", {conv(g, "c1", x, {8, 3, 3, 3}, 1)});
  const ValueId pooled = add_node(g, "MaxPool", "pool", {a}, {{"kernel_shape", std::vector<std::int64_t>{2, 2}}, {"strides", std::vector<std::int64_t>{2, 2}}});
  const ValueId deep = conv(g, "c2", pooled, {8, 1, 3, 3}, 1, 8);
  const ValueId slope = g.add_constant("slope", random_tensor({8, 1, 1}, 5));
  const ValueId prelu = add_node(g, "PRelu", "prelu", {deep, slope});
  const ValueId sum = add_node(g, "Relu", "after", {add_node(g, "Add", "add", {conv(g, "c3", prelu, {8, 8, 1, 1}), pooled})});
  const ValueId gate = add_node(g, "Sigmoid", "gate", {conv(g, "c4", add_node(g, "GlobalAveragePool", "squeeze", {sum}), {8, 8, 1, 1})});
  const ValueId scaled = add_node(g, "Mul", "excite", {gate, sum});
  const ValueId half = g.add_constant("half", Tensor::scalar(0.5f));
  const ValueId scales = g.add_constant("scales", Tensor::from<float>({4}, {1, 1, 2, 2}));
  const ValueId up = add_node(g, "Resize", "up", {add_node(g, "Mul", "halve", {half, scaled}), graph::kNoValue, scales});
  const ValueId joined = add_node(g, "Concat", "join", {up, a}, {{"axis", std::int64_t{1}}});
  const ValueId last = conv(g, "c5", joined, {4, 16, 3, 3});
  const ValueId rows = add_node(g, "Transpose", "to_rows", {last}, {{"perm", std::vector<std::int64_t>{0, 2, 3, 1}}});
  const ValueId probabilities = add_node(g, "Softmax", "soft", {last}, {{"axis", std::int64_t{1}}});
  const ValueId mean = add_node(g, "Flatten", "flat", {add_node(g, "GlobalMaxPool", "top", {last})});
  g.outputs = {rows, probabilities, mean, sum};
  return g;
}

TEST(AssignLayout, KeepsTheMeaning) {
  const Graph before = branching_model();
  Graph after = before.clone();
  const auto names = assign_layout(after);
  ASSERT_TRUE(names.ok()) << names.error().to_string();
  ASSERT_TRUE(graph::verify(after, "test").ok());
  EXPECT_EQ(count(after, "Conv"), 0);
  EXPECT_EQ(count(after, "Conv", "narrow"), 5);
  EXPECT_EQ(count(after, "MaxPool", "narrow"), 1);
  EXPECT_EQ(count(after, "GlobalAveragePool", "narrow"), 1);
  // In at x; out for the Softmax and for the graph output inside the region. The model's own Transpose is the identity.
  EXPECT_EQ(count(after, "Transpose"), 3);
  EXPECT_EQ(count(after, "Identity"), 1);
  EXPECT_TRUE(names->contains("join_out"));
  expect_same(before, after, {random_tensor({2, 3, 12, 10}, 1)});
}

TEST(FuseConvolution, KeepsTheMeaningAndSavesNodes) {
  const Graph before = branching_model();
  Graph after = before.clone();
  const auto fused = fuse_convolution(after);
  ASSERT_TRUE(fused.ok()) << fused.error().to_string();
  ASSERT_TRUE(graph::verify(after, "test").ok());
  EXPECT_EQ(*fused, 4);  // c1 + relu, c3 + add, that + after, c4 + gate
  EXPECT_EQ(count(after, "Relu") + count(after, "Add") + count(after, "Sigmoid"), 0);
  expect_same(before, after, {random_tensor({2, 3, 12, 10}, 2)});
  const auto names = assign_layout(after);
  ASSERT_TRUE(names.ok()) << names.error().to_string();
  ASSERT_TRUE(graph::verify(after, "test").ok());
  expect_same(before, after, {random_tensor({2, 3, 12, 10}, 3)});
}

TEST(FuseConvolution, Swish) {
  Graph g;
  const ValueId c = conv(g, "c", add_input(g, "x", {1, 3, 6, 6}), {5, 3, 3, 3});
  g.outputs = {add_node(g, "Mul", "mul", {c, add_node(g, "Sigmoid", "s", {c})})};
  Graph after = g.clone();
  ASSERT_EQ(*fuse_convolution(after), 1);
  EXPECT_EQ(after.nodes.size(), 1u);
  expect_same(g, after, {random_tensor({1, 3, 6, 6}, 4)});
}

TEST(FuseConvolution, LeavesWhatOthersRead) {
  Graph g;
  const ValueId c = conv(g, "c", add_input(g, "x", {1, 3, 6, 6}), {5, 3, 3, 3});
  g.outputs = {add_node(g, "Relu", "r", {c}), c};
  EXPECT_EQ(*fuse_convolution(g), 0);
  g.outputs = {g.outputs[0]};
  EXPECT_EQ(*fuse_convolution(g, {"c_out"}), 0);
  EXPECT_EQ(*fuse_convolution(g), 1);
}

}  // namespace
}  // namespace narrow::passes
