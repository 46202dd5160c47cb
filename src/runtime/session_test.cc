#include "runtime/session.h"

#include <gtest/gtest.h>

#include <cstring>

namespace narrow::runtime {
namespace {

using graph::Dim;
using graph::Graph;
using graph::Node;
using graph::Type;
using graph::ValueId;

ValueId add_node(Graph& graph, std::string op, std::vector<ValueId> inputs, Type type = {}) {
  Node node;
  node.name = op + "_" + std::to_string(graph.nodes.size());
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {graph.add_value(node.name + "_out", std::move(type))};
  graph.nodes.push_back(node);
  return node.outputs[0];
}

// x [N,3] -> Identity -> Identity -> y
Graph identity_graph() {
  Graph graph;
  const ValueId x = graph.add_value("x", Type::tensor(DType::kF32, {Dim("N"), 3}));
  graph.inputs = {x};
  graph.outputs = {add_node(graph, "Identity", {add_node(graph, "Identity", {x})})};
  return graph;
}

Tensor two_rows() { return Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6}); }

std::unique_ptr<Session> make(const Graph& graph, SessionOptions options = {}) {
  auto session = Session::create(graph, std::move(options));
  EXPECT_TRUE(session.ok()) << (session.ok() ? "" : session.error().to_string());
  return session.ok() ? *std::move(session) : nullptr;
}

std::string error_of(Session& session, std::vector<NamedTensor> inputs) {
  auto outputs = session.run(inputs);
  return outputs.ok() ? "" : outputs.error().to_string();
}

TEST(Session, RunsAndReplansForOtherShapes) {
  auto session = make(identity_graph());
  for (std::int64_t n : {2, 5, 2, 0}) {
    Tensor x = *Tensor::create(DType::kF32, {n, 3});
    for (float& v : x.mutable_data<float>()) v = static_cast<float>(n);
    const NamedTensor input{"x", x};
    auto outputs = session->run({&input, 1});
    ASSERT_TRUE(outputs.ok()) << outputs.error().to_string();
    ASSERT_EQ(outputs->size(), 1u);
    EXPECT_EQ((*outputs)[0].shape(), (Shape{n, 3}));
    for (float v : (*outputs)[0].data<float>()) EXPECT_EQ(v, static_cast<float>(n));
  }
}

TEST(Session, SaysWhatIsWrongWithTheInputs) {
  auto session = make(identity_graph());
  const std::string unknown = error_of(*session, {{"X", two_rows()}});
  EXPECT_NE(unknown.find("did you mean 'x'"), std::string::npos) << unknown;
  EXPECT_NE(error_of(*session, {}).find("input 'x' (f32[N,3]) is missing"), std::string::npos);
  const std::string shape = error_of(*session, {{"x", Tensor::from<float>({1, 2}, {1, 2})}});
  EXPECT_NE(shape.find("input 'x' is f32[1,2], expected f32[N,3]"), std::string::npos) << shape;
  const std::string dtype = error_of(*session, {{"x", Tensor::from<std::int64_t>({1, 3}, {1, 2, 3})}});
  EXPECT_NE(dtype.find("s64[1,3]"), std::string::npos) << dtype;
  EXPECT_NE(error_of(*session, {{"x", two_rows()}, {"x", two_rows()}}).find("twice"), std::string::npos);
  EXPECT_EQ(error_of(*session, {{"x", two_rows()}}), "");
}

TEST(Session, AnInputWithAnInitializerMayBeOmittedOrReplaced) {
  Graph graph;
  const ValueId w = graph.add_constant("w", Tensor::from<float>({2}, {7, 8}));
  graph.inputs = {w};
  graph.outputs = {add_node(graph, "Identity", {w})};
  auto session = make(graph);
  auto own = session->run({});
  ASSERT_TRUE(own.ok()) << own.error().to_string();
  EXPECT_EQ((*own)[0].data<float>()[1], 8);
  const NamedTensor input{"w", Tensor::from<float>({2}, {1, 2})};
  auto given = session->run({&input, 1});
  ASSERT_TRUE(given.ok()) << given.error().to_string();
  EXPECT_EQ((*given)[0].data<float>()[1], 2);
  EXPECT_EQ((*session->run({}))[0].data<float>()[1], 8);
}

TEST(Session, NamesTheOperatorThatItCannotRun) {
  Graph graph = identity_graph();
  graph.nodes[1].op_type = "NoSuchOperator";
  auto session = Session::create(graph, {});
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(session.error().message().find("NoSuchOperator"), std::string::npos);
  // A node that no output needs does not matter.
  graph.nodes[1].op_type = "Identity";
  add_node(graph, "NoSuchOperator", {graph.inputs[0]});
  EXPECT_TRUE(Session::create(graph, {}).ok());
}

TEST(Session, TapsInputsConstantsAndIntermediateValues) {
  Graph graph = identity_graph();
  const ValueId w = graph.add_constant("w", Tensor::scalar<float>(3));
  std::vector<std::pair<ValueId, float>> seen;
  SessionOptions options;
  options.tapped = {graph.inputs[0], graph.nodes[0].outputs[0], w};
  options.tap = [&](ValueId id, const Tensor& tensor) -> Status {
    seen.emplace_back(id, tensor.data<float>()[0]);
    return {};
  };
  auto session = make(graph, options);
  const NamedTensor input{"x", two_rows()};
  ASSERT_TRUE(session->run({&input, 1}).ok());
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0], std::make_pair(graph.inputs[0], 1.0f));
  EXPECT_EQ(seen[1], std::make_pair(w, 3.0f));
  EXPECT_EQ(seen[2], std::make_pair(graph.nodes[0].outputs[0], 1.0f));
}

TEST(Session, AFailingTapEndsTheRun) {
  Graph graph = identity_graph();
  SessionOptions options;
  options.tapped = {graph.nodes[0].outputs[0]};
  options.tap = [](ValueId, const Tensor&) -> Status { return io_error("disk full"); };
  auto session = make(graph, options);
  const NamedTensor input{"x", two_rows()};
  auto outputs = session->run({&input, 1});
  ASSERT_FALSE(outputs.ok());
  EXPECT_EQ(outputs.error().code(), ErrorCode::kIo);
}

TEST(Session, ProfilesNodes) {
  SessionOptions options;
  options.profile = true;
  auto session = make(identity_graph(), options);
  const NamedTensor input{"x", two_rows()};
  ASSERT_TRUE(session->run({&input, 1}).ok());
  ASSERT_TRUE(session->run({&input, 1}).ok());
  const auto profile = session->profile();
  ASSERT_EQ(profile.size(), 2u);
  EXPECT_EQ(profile[0].op_type, "Identity");
  EXPECT_EQ(profile[0].calls, 2);
}

}  // namespace
}  // namespace narrow::runtime
