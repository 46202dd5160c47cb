// If, Loop and Scan as sessions run them: nesting, captured values, what a loop carries and collects.
#include <gtest/gtest.h>

#include "operators/infer.h"
#include "runtime/session.h"

namespace narrow::runtime {
namespace {

using graph::Dim;
using graph::Graph;
using graph::GraphPtr;
using graph::Node;
using graph::Type;
using graph::ValueId;

ValueId add(Graph& graph, std::string op, std::vector<ValueId> inputs, std::vector<graph::Attribute> attributes = {}) {
  Node node;
  node.name = op + std::to_string(graph.nodes.size());
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.outputs = {graph.add_value(node.name, {})};
  graph.nodes.push_back(node);
  return node.outputs[0];
}

ValueId capture(Graph& graph, const std::string& name) {
  const ValueId id = graph.add_value(name, {});
  graph.value(id).captured = true;
  return id;
}

Result<std::vector<Tensor>> run(const Graph& graph, std::vector<NamedTensor> inputs) {
  NARROW_TRY(auto session, Session::create(graph, {}));
  NARROW_TRY(std::vector<Tensor> outputs, session->run(inputs));
  for (Tensor& tensor : outputs) tensor = tensor.clone();
  return outputs;
}

// x + 1 + depth when the flag is set all the way down, else x - 1 at the first level that it is not.
GraphPtr nested(int depth) {
  auto graph = std::make_shared<Graph>();
  const ValueId x = capture(*graph, "x");
  const ValueId one = graph->add_constant("one", Tensor::scalar(1.0f));
  const ValueId sum = add(*graph, "Add", {x, one});
  if (depth == 0) {
    graph->outputs = {sum};
    return graph;
  }
  auto otherwise = std::make_shared<Graph>();
  const ValueId outer = capture(*otherwise, "x");
  otherwise->outputs = {add(*otherwise, "Sub", {outer, otherwise->add_constant("one", Tensor::scalar(1.0f))})};
  const ValueId flag = capture(*graph, "flag");
  const ValueId inner = add(*graph, "If", {flag}, {{"then_branch", nested(depth - 1)}, {"else_branch", otherwise}});
  graph->outputs = {add(*graph, "Add", {inner, one})};
  return graph;
}

TEST(ControlFlow, IfNestedTwentyFiveDeepSeesTheOutermostValues) {
  Graph graph;
  graph.inputs = {graph.add_value("x", Type::tensor(DType::kF32, {Dim("N")})), graph.add_value("flag", Type::tensor(DType::kBool, std::vector<Dim>{}))};
  auto otherwise = std::make_shared<Graph>();
  otherwise->outputs = {add(*otherwise, "Neg", {capture(*otherwise, "x")})};
  graph.outputs = {add(graph, "If", {graph.inputs[1]}, {{"then_branch", nested(24)}, {"else_branch", otherwise}})};
  const Tensor x = Tensor::from<float>({2}, {10, 20});
  auto yes = run(graph, {{"x", x}, {"flag", Tensor::scalar(true)}});
  ASSERT_TRUE(yes.ok()) << yes.error().to_string();
  EXPECT_EQ((*yes)[0].to_float(), (std::vector<float>{35, 45}));
  auto no = run(graph, {{"x", x}, {"flag", Tensor::scalar(false)}});
  ASSERT_TRUE(no.ok());
  EXPECT_EQ((*no)[0].to_float(), (std::vector<float>{-10, -20}));
  Graph typed = graph.clone();
  ASSERT_TRUE(operators::infer_types(typed).ok());
  EXPECT_EQ(graph::to_string(typed.value(typed.outputs[0]).type), "f32[N]");
}

TEST(ControlFlow, BranchesOfOtherTypesAreRefused) {
  Graph graph;
  graph.inputs = {graph.add_value("x", Type::tensor(DType::kF32, {Dim(2)})), graph.add_value("flag", Type::tensor(DType::kBool, std::vector<Dim>{}))};
  auto a = std::make_shared<Graph>(), b = std::make_shared<Graph>();
  a->outputs = {add(*a, "Neg", {capture(*a, "x")})};
  b->outputs = {add(*b, "Cast", {capture(*b, "x")}, {{"to", std::int64_t{7}}})};
  graph.outputs = {add(graph, "If", {graph.inputs[1]}, {{"then_branch", a}, {"else_branch", b}})};
  auto result = operators::infer_types(graph);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message().find("f32 in one branch and s64 in the other"), std::string::npos) << result.error().message();
}

// total = total + pass; collects total and total * scale (captured) while total < limit.
GraphPtr loop_body() {
  auto body = std::make_shared<Graph>();
  const ValueId pass = body->add_value("pass", Type::tensor(DType::kS64, std::vector<Dim>{}));
  const ValueId going = body->add_value("going", Type::tensor(DType::kBool, std::vector<Dim>{}));
  const ValueId total = body->add_value("total", Type::tensor(DType::kS64, std::vector<Dim>{}));
  body->inputs = {pass, going, total};
  const ValueId sum = add(*body, "Add", {total, pass});
  const ValueId less = add(*body, "Less", {sum, capture(*body, "limit")});
  const ValueId scaled = add(*body, "Mul", {sum, capture(*body, "scale")});
  body->outputs = {less, sum, sum, scaled};
  return body;
}

Graph loop_graph() {
  Graph graph;
  for (const char* name : {"trips", "limit", "scale"}) graph.inputs.push_back(graph.add_value(name, Type::tensor(DType::kS64, std::vector<Dim>{})));
  Node node;
  node.name = "loop";
  node.op_type = "Loop";
  node.inputs = {graph.inputs[0], graph::kNoValue, graph.add_constant("start", Tensor::scalar<std::int64_t>(0))};
  node.attributes = {{"body", loop_body()}};
  for (const char* name : {"last", "totals", "scaled"}) node.outputs.push_back(graph.add_value(name, {}));
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  return graph;
}

TEST(ControlFlow, LoopStopsByTripCountAndByCondition) {
  const Graph graph = loop_graph();
  for (std::int64_t trips : {0, 1, 4, 100}) {
    for (std::int64_t limit : {-1, 5, 20}) {
      auto found = run(graph, {{"trips", Tensor::scalar(trips)}, {"limit", Tensor::scalar(limit)}, {"scale", Tensor::scalar<std::int64_t>(3)}});
      ASSERT_TRUE(found.ok()) << found.error().to_string();
      std::vector<std::int64_t> totals, scaled;
      std::int64_t total = 0;
      for (std::int64_t pass = 0; pass < trips; ++pass) {
        total += pass;
        totals.push_back(total);
        scaled.push_back(total * 3);
        if (!(total < limit)) break;
      }
      EXPECT_EQ((*found)[0].to_int64(), std::vector<std::int64_t>{total});
      EXPECT_EQ((*found)[1].to_int64(), totals);
      EXPECT_EQ((*found)[2].to_int64(), scaled);
      EXPECT_EQ((*found)[1].shape(), (Shape{static_cast<std::int64_t>(totals.size())}));
    }
  }
}

TEST(ControlFlow, LoopBodyOfAnotherArityIsRefused) {
  Graph graph = loop_graph();
  graph.nodes[0].get_graph("body")->outputs.pop_back();
  auto result = operators::infer_types(graph);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message().find("3 inputs and 3 outputs, expected 3 and 4"), std::string::npos) << result.error().message();
}

// state = state + slice; collects the state.
Graph scan_graph(std::int64_t input_axis, std::int64_t direction) {
  auto body = std::make_shared<Graph>();
  const ValueId state = body->add_value("state", Type::tensor(DType::kF32, {Dim(2)}));
  const ValueId slice = body->add_value("slice", Type::tensor(DType::kF32, {Dim(2)}));
  body->inputs = {state, slice};
  const ValueId sum = add(*body, "Add", {state, slice});
  body->outputs = {sum, add(*body, "Identity", {sum})};
  Graph graph;
  graph.inputs = {graph.add_value("start", Type::tensor(DType::kF32, {Dim(2)})),
                  graph.add_value("x", input_axis == 0 ? Type::tensor(DType::kF32, {Dim("T"), Dim(2)}) : Type::tensor(DType::kF32, {Dim(2), Dim("T")}))};
  Node node;
  node.name = "scan";
  node.op_type = "Scan";
  node.inputs = graph.inputs;
  node.attributes = {{"body", body}, {"num_scan_inputs", std::int64_t{1}}, {"scan_input_axes", std::vector<std::int64_t>{input_axis}},
                     {"scan_input_directions", std::vector<std::int64_t>{direction}}, {"scan_output_directions", std::vector<std::int64_t>{direction}}};
  node.outputs = {graph.add_value("last", {}), graph.add_value("sums", {})};
  graph.outputs = node.outputs;
  graph.nodes.push_back(node);
  return graph;
}

TEST(ControlFlow, ScanAlongEitherAxisAndDirection) {
  for (std::int64_t axis : {0, 1}) {
    for (std::int64_t direction : {0, 1}) {
      const Graph graph = scan_graph(axis, direction);
      const Tensor x = axis == 0 ? Tensor::from<float>({3, 2}, {1, 2, 3, 4, 5, 6}) : Tensor::from<float>({2, 3}, {1, 3, 5, 2, 4, 6});
      auto found = run(graph, {{"start", Tensor::from<float>({2}, {10, 20})}, {"x", x}});
      ASSERT_TRUE(found.ok()) << found.error().to_string();
      EXPECT_EQ((*found)[0].to_float(), (std::vector<float>{19, 32}));
      EXPECT_EQ((*found)[1].to_float(), direction == 0 ? (std::vector<float>{11, 22, 14, 26, 19, 32}) : (std::vector<float>{19, 32, 18, 30, 15, 26}));
      Graph typed = graph.clone();
      ASSERT_TRUE(operators::infer_types(typed).ok());
      EXPECT_EQ(graph::to_string(typed.value(typed.outputs[1]).type), "f32[T,2]");
    }
  }
}

}  // namespace
}  // namespace narrow::runtime
