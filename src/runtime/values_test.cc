// Sequences and optionals as sessions run them.
#include <gtest/gtest.h>

#include "runtime/session.h"

namespace narrow::runtime {
namespace {

using graph::Graph;
using graph::GraphPtr;
using graph::Node;
using graph::Type;
using graph::ValueId;
using Attributes = std::vector<graph::Attribute>;

ValueId add(Graph& graph, std::string op, std::vector<ValueId> inputs, Attributes attributes = {}) {
  Node node;
  node.name = op + std::to_string(graph.nodes.size());
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.outputs = {graph.add_value(node.name, {})};
  graph.nodes.push_back(node);
  return node.outputs[0];
}

ValueId input(Graph& graph, const std::string& name, Type type) {
  const ValueId id = graph.add_value(name, std::move(type));
  graph.inputs.push_back(id);
  return id;
}

Tensor vec(std::vector<float> values) { return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, std::span<const float>(values)); }
RuntimeValue seq(std::vector<Tensor> tensors) { return RuntimeValue::sequence(DType::kF32, std::move(tensors)); }
const Type kSequence = Type::sequence(Type::tensor(DType::kF32));

// "1 2|3" for a sequence, "1 2" for a tensor, "-" for nothing.
std::string text(const RuntimeValue& value) {
  if (value.is_nothing()) return "-";
  std::string out;
  const auto add_tensor = [&](const Tensor& tensor) {
    for (std::int64_t i = 0; i < tensor.size(); ++i) out += (i == 0 ? "" : " ") + std::to_string(static_cast<int>(tensor.at_as_double(i)));
  };
  if (value.is_tensor()) add_tensor(value.tensor());
  for (std::size_t i = 0; value.is_sequence() && i < value.sequence().size(); ++i) {
    if (i != 0) out += '|';
    add_tensor(value.sequence()[i]);
  }
  return out;
}

std::string run(const Graph& graph, std::vector<NamedValue> inputs) {
  auto session = Session::create(graph, {});
  if (!session.ok()) return "error: " + session.error().to_string();
  std::string first;
  for (int time = 0; time < 2; ++time) {  // a second run, with the memory of the first, must not differ
    auto outputs = (*session)->run_values(inputs);
    if (!outputs.ok()) return "error: " + outputs.error().to_string();
    std::string all;
    for (std::size_t i = 0; i < outputs->size(); ++i) all += (i == 0 ? "" : "; ") + text((*outputs)[i]);
    if (time == 0) first = all;
    else EXPECT_EQ(all, first);
  }
  return first;
}

// One node on a sequence [1 2, 3] named "s", with constants behind it.
std::string on_sequence(std::string op, const std::vector<Tensor>& constants, Attributes attributes = {}) {
  Graph graph;
  std::vector<ValueId> inputs = {input(graph, "s", kSequence)};
  for (const Tensor& tensor : constants) inputs.push_back(graph.add_constant("c", tensor));
  graph.outputs = {add(graph, std::move(op), inputs, std::move(attributes))};
  return run(graph, {{"s", seq({vec({1, 2}), vec({3})})}});
}

Tensor at(std::int64_t position) { return Tensor::scalar(position); }

TEST(Sequences, AreReadAndChangedAtPositionsFromEitherEnd) {
  EXPECT_EQ(on_sequence("SequenceLength", {}), "2");
  EXPECT_EQ(on_sequence("SequenceAt", {at(0)}), "1 2");
  EXPECT_EQ(on_sequence("SequenceAt", {at(-1)}), "3");
  EXPECT_EQ(on_sequence("SequenceAt", {Tensor::scalar<std::int32_t>(1)}), "3");
  EXPECT_EQ(on_sequence("SequenceInsert", {vec({9})}), "1 2|3|9");
  EXPECT_EQ(on_sequence("SequenceInsert", {vec({9}), at(0)}), "9|1 2|3");
  EXPECT_EQ(on_sequence("SequenceInsert", {vec({9}), at(2)}), "1 2|3|9");
  EXPECT_EQ(on_sequence("SequenceInsert", {vec({9}), at(-1)}), "1 2|9|3");
  EXPECT_EQ(on_sequence("SequenceErase", {}), "1 2");
  EXPECT_EQ(on_sequence("SequenceErase", {at(-2)}), "3");
  EXPECT_EQ(on_sequence("ConcatFromSequence", {}, {{"axis", std::int64_t{0}}}), "1 2 3");
  EXPECT_EQ(on_sequence("Identity", {}), "1 2|3");
}

TEST(Sequences, SayWhatDoesNotFit) {
  const auto fails = [](const std::string& outcome, const char* with) {
    EXPECT_EQ(outcome.find("error"), 0u) << outcome;
    EXPECT_NE(outcome.find(with), std::string::npos) << outcome;
  };
  fails(on_sequence("SequenceAt", {at(2)}), "position 2 of a sequence of 2");
  fails(on_sequence("SequenceAt", {at(-3)}), "position -3");
  fails(on_sequence("SequenceErase", {at(2)}), "position 2");
  fails(on_sequence("SequenceInsert", {vec({9}), at(3)}), "position 3");
  fails(on_sequence("SequenceInsert", {Tensor::scalar<std::int64_t>(1)}), "s64");
  fails(on_sequence("ConcatFromSequence", {}, {{"axis", std::int64_t{0}}, {"new_axis", std::int64_t{1}}}), "stacked");
  fails(on_sequence("Relu", {}), "node 'Relu0' (Relu): input 0 is sequence(f32[*]), expected a tensor");
}

// The type rule of Dropout passes anything on; the session does not.
TEST(Sequences, NeverReachAnOperatorOnTensors) {
  EXPECT_NE(on_sequence("Dropout", {}).find("input 0 is a sequence of 2 f32 tensors, expected a tensor"), std::string::npos);
}

TEST(Sequences, AreSplitFromTensorsAndStackedAgain) {
  Graph graph;
  const ValueId x = input(graph, "x", Type::tensor(DType::kF32, {3, 2}));
  const ValueId rows = add(graph, "SplitToSequence", {x}, {{"keepdims", std::int64_t{0}}});
  const ValueId pairs = add(graph, "SplitToSequence", {x, graph.add_constant("two", at(2))});
  const ValueId columns = add(graph, "SplitToSequence", {x, graph.add_constant("ones", Tensor::from<std::int64_t>({2}, {1, 1}))}, {{"axis", std::int64_t{1}}});
  const ValueId stacked = add(graph, "ConcatFromSequence", {rows}, {{"axis", std::int64_t{-1}}, {"new_axis", std::int64_t{1}}});
  graph.outputs = {rows, pairs, columns, stacked};
  const Tensor tensor = Tensor::from<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run(graph, {{"x", tensor}}), "1 2|3 4|5 6; 1 2 3 4|5 6; 1 3 5|2 4 6; 1 3 5 2 4 6");
  EXPECT_EQ(run(graph, {{"x", seq({tensor})}}).find("error: invalid argument: input 'x' is a sequence of 1 f32 tensors, expected f32[3,2]"), 0u);
}

// A sequence keeps what a tensor held when it was put in, though the tensor's memory is used again.
TEST(Sequences, OwnWhatTheyHold) {
  Graph graph;
  const ValueId x = input(graph, "x", Type::tensor(DType::kF32, {2}));
  ValueId sum = add(graph, "Add", {x, x});
  ValueId sequence = add(graph, "SequenceConstruct", {sum});
  for (int i = 0; i < 4; ++i) {
    sum = add(graph, "Add", {sum, x});
    sequence = add(graph, "SequenceInsert", {sequence, sum});
  }
  graph.outputs = {sequence};
  EXPECT_EQ(run(graph, {{"x", vec({1, 10})}}), "2 20|3 30|4 40|5 50|6 60");
}

TEST(Sequences, AreMappedByASubgraph) {
  auto body = std::make_shared<Graph>();
  const ValueId a = input(*body, "a", Type::tensor(DType::kF32)), b = input(*body, "b", Type::tensor(DType::kF32));
  const ValueId outer = body->add_value("x", {});
  body->value(outer).captured = true;
  body->outputs = {add(*body, "Add", {add(*body, "Add", {a, b}), outer})};
  Graph graph;
  const ValueId s = input(graph, "s", kSequence), t = input(graph, "t", kSequence), x = input(graph, "x", Type::tensor(DType::kF32, {1}));
  graph.outputs = {add(graph, "SequenceMap", {s, t}, {{"body", GraphPtr(body)}}), add(graph, "SequenceMap", {s, x}, {{"body", GraphPtr(body)}})};
  EXPECT_EQ(run(graph, {{"s", seq({vec({1, 2}), vec({3})})}, {"t", seq({vec({10}), vec({20})})}, {"x", vec({100})}}), "111 112|123; 201 202|203");
  EXPECT_EQ(run(graph, {{"s", seq({})}, {"t", seq({})}, {"x", vec({1})}}), "; ");
  EXPECT_NE(run(graph, {{"s", seq({vec({1})})}, {"t", seq({})}, {"x", vec({1})}}).find("sequences of 1 and 0 tensors"), std::string::npos);
}

// Pass i appends x + i; a carried sequence grows, and one that is not wanted costs nothing.
TEST(Sequences, GrowInLoops) {
  auto body = std::make_shared<Graph>();
  const ValueId pass = input(*body, "pass", Type::tensor(DType::kS64, std::vector<graph::Dim>{}));
  const ValueId going = input(*body, "going", Type::tensor(DType::kBool, std::vector<graph::Dim>{})), s = input(*body, "s", kSequence);
  const ValueId outer = body->add_value("x", {});
  body->value(outer).captured = true;
  const ValueId step = add(*body, "Cast", {pass}, {{"to", std::int64_t{1}}});
  body->outputs = {add(*body, "Identity", {going}), add(*body, "SequenceInsert", {s, add(*body, "Add", {outer, step})})};
  Graph graph;
  input(graph, "x", Type::tensor(DType::kF32, {2}));
  const ValueId start = add(graph, "SequenceEmpty", {});
  graph.outputs = {add(graph, "Loop", {graph.add_constant("n", at(3)), graph::kNoValue, start}, {{"body", GraphPtr(body)}})};
  EXPECT_EQ(run(graph, {{"x", vec({1, 5})}}), "1 5|2 6|3 7");
}

TEST(Optionals, PassTheirElementOn) {
  Graph graph;
  const ValueId o = input(graph, "o", Type::optional(Type::tensor(DType::kF32, {2})));
  graph.outputs = {add(graph, "OptionalHasElement", {o}), add(graph, "Optional", {o})};
  EXPECT_EQ(run(graph, {{"o", vec({7, 8})}}), "1; 7 8");
  EXPECT_EQ(run(graph, {{"o", RuntimeValue::nothing()}}), "0; -");
  EXPECT_EQ(run(graph, {{"o", vec({7})}}).find("error: invalid argument: input 'o' is f32[1], expected optional(f32[2])"), 0u);
  graph.outputs = {add(graph, "OptionalGetElement", {o})};
  EXPECT_EQ(run(graph, {{"o", vec({7, 8})}}), "7 8");
  EXPECT_NE(run(graph, {{"o", RuntimeValue::nothing()}}).find("has no element"), std::string::npos);
}

TEST(Optionals, MayHoldSequencesOrNothingFromTheStart) {
  Graph graph;
  const ValueId o = input(graph, "o", Type::optional(kSequence));
  const ValueId nothing = add(graph, "Optional", {}, {{"type", kSequence}});
  graph.outputs = {add(graph, "SequenceLength", {add(graph, "OptionalGetElement", {o})}), nothing, add(graph, "OptionalHasElement", {nothing})};
  EXPECT_EQ(run(graph, {{"o", seq({vec({1}), vec({2})})}}), "2; -; 0");
  EXPECT_EQ(run(graph, {{"o", vec({1})}}).find("error: invalid argument: input 'o' is f32[1], expected optional(sequence(f32[*]))"), 0u);
}

TEST(Optionals, ComeOutOfEitherBranch) {
  auto yes = std::make_shared<Graph>(), no = std::make_shared<Graph>();
  const ValueId x = yes->add_value("x", {});
  yes->value(x).captured = true;
  yes->outputs = {add(*yes, "Optional", {x})};
  no->outputs = {add(*no, "Optional", {}, {{"type", Type::tensor(DType::kF32)}})};
  Graph graph;
  const ValueId flag = input(graph, "flag", Type::tensor(DType::kBool, std::vector<graph::Dim>{}));
  input(graph, "x", Type::tensor(DType::kF32, {1}));
  graph.outputs = {add(graph, "If", {flag}, {{"then_branch", GraphPtr(yes)}, {"else_branch", GraphPtr(no)}})};
  EXPECT_EQ(run(graph, {{"flag", Tensor::scalar(true)}, {"x", vec({4})}}), "4");
  EXPECT_EQ(run(graph, {{"flag", Tensor::scalar(false)}, {"x", vec({4})}}), "-");
}

TEST(Sessions, HandOutOnlyTensorsThroughRun) {
  Graph graph;
  const ValueId x = input(graph, "x", Type::tensor(DType::kF32, {1}));
  graph.outputs = {add(graph, "SequenceConstruct", {x, x})};
  auto session = Session::create(graph, {});
  ASSERT_TRUE(session.ok()) << session.error().to_string();
  const NamedTensor given{"x", vec({1})};
  const auto outputs = (*session)->run({&given, 1});
  ASSERT_FALSE(outputs.ok());
  EXPECT_NE(outputs.error().to_string().find("output 'SequenceConstruct0' is a sequence of 2 f32 tensors; only tensors"), std::string::npos) << outputs.error().to_string();
}

}  // namespace
}  // namespace narrow::runtime
