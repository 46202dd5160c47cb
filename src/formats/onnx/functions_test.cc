#include "formats/onnx/functions.h"

#include <gtest/gtest.h>

#include "formats/onnx/onnx.h"
#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

using namespace narrow::tests;

struct Function {
  std::string name;
  std::vector<std::string> inputs, outputs;
  std::vector<ProtoMessage> nodes, defaults = {};
};

ProtoMessage encode(const Function& function) {
  ProtoMessage f;
  f.add_string(1, function.name);
  for (const std::string& i : function.inputs) f.add_string(4, i);
  for (const std::string& o : function.outputs) f.add_string(5, o);
  for (const ProtoMessage& n : function.nodes) f.add_message(7, n);
  f.add_message(9, opset_import("", 17));
  f.add_string(10, "fn");
  for (const ProtoMessage& d : function.defaults) f.add_message(11, d);
  return f;
}

ProtoMessage call(const std::string& name, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                  const std::vector<ProtoMessage>& attributes = {}) {
  return node(name, inputs, outputs, attributes, "", "fn");
}

// The attribute `name` of a body's node takes what the call gives as `reference`.
ProtoMessage reference(std::string_view name, std::string_view reference) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_int(20, 2);
  a.add_string(21, reference);
  return a;
}

Result<graph::Model> import(const std::vector<ProtoMessage>& nodes, const std::vector<Function>& functions) {
  static std::vector<std::string> kept;
  ProtoMessage m;
  m.add_int(1, 8);
  m.add_message(7, make_graph({nodes, {}, {value_info("x", kFloat, {-1, 4}), value_info("c", kBool, {})}, {value_info("y", kFloat, {-1, 4})}}));
  m.add_message(8, opset_import("", 17));
  m.add_message(8, opset_import("fn", 1));
  for (const Function& f : functions) m.add_message(25, encode(f));
  kept.push_back(m.to_string());
  return import_bytes(as_bytes(kept.back()), "test.onnx");
}

std::vector<std::string> operators_of(const graph::Graph& g) {
  std::vector<std::string> names;
  for (const graph::Node& n : g.nodes) names.push_back(n.op_type);
  return names;
}

TEST(Functions, CallsBecomeTheirBodies) {
  const Function twice{"Twice", {"a"}, {"b"}, {node("Add", {"a", "a"}, {"t"}), node("Relu", {"t"}, {"b"})}};
  const auto model = import({call("Twice", {"x"}, {"h"}), call("Twice", {"h"}, {"y"})}, {twice});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  EXPECT_EQ(operators_of(model->graph), (std::vector<std::string>{"Add", "Relu", "Add", "Relu"}));
  EXPECT_EQ(model->graph.value(model->graph.nodes[0].inputs[0]).name, "x");
  EXPECT_EQ(model->graph.value(model->graph.nodes[1].outputs[0]).name, "h");
  EXPECT_EQ(model->graph.value(model->graph.nodes[3].outputs[0]).name, "y");
  EXPECT_TRUE(model->foreign.empty());
}

// A model that imports no opset itself takes that of its functions, which is checked like its own.
TEST(Functions, AnOpsetBeyondTheNewestIsRefused) {
  for (const auto& [version, accepted] : {std::pair{17, true}, {81, false}}) {
    ProtoMessage f;
    f.add_string(1, "Twice");
    f.add_string(4, "a");
    f.add_string(5, "b");
    f.add_message(7, node("Add", {"a", "a"}, {"b"}));
    f.add_message(9, opset_import("", version));
    f.add_string(10, "fn");
    ProtoMessage m;
    m.add_int(1, 8);
    m.add_message(7, make_graph({{call("Twice", {"x"}, {"y"})}, {}, {value_info("x", kFloat, {-1, 4})}, {value_info("y", kFloat, {-1, 4})}}));
    m.add_message(25, f);
    const std::string bytes = m.to_string();
    const auto model = import_bytes(as_bytes(bytes), "test.onnx");
    EXPECT_EQ(model.ok(), accepted) << version;
    if (!accepted) {
      EXPECT_EQ(model.error().code(), ErrorCode::kUnsupported);
    }
  }
}

TEST(Functions, AttributesAreGivenDefaultedOrAbsent) {
  const Function soft{"Soft", {"a"}, {"b"}, {node("Softmax", {"a"}, {"b"}, {reference("axis", "dim")})}, {int_attribute("dim", 1)}};
  const auto given = import({call("Soft", {"x"}, {"y"}, {int_attribute("dim", 0)})}, {soft});
  ASSERT_TRUE(given.ok()) << given.error().to_string();
  EXPECT_EQ(given->graph.nodes[0].get_int("axis", -9), 0);
  EXPECT_EQ(import({call("Soft", {"x"}, {"y"})}, {soft})->graph.nodes[0].get_int("axis", -9), 1);
  Function bare = soft;
  bare.defaults.clear();
  EXPECT_FALSE(import({call("Soft", {"x"}, {"y"})}, {bare})->graph.nodes[0].has("axis"));
}

TEST(Functions, FunctionsCallFunctionsAndOmitInputs) {
  const Function inner{"Inner", {"a", "low"}, {"b"}, {node("Clip", {"a", "low"}, {"b"}, {}, "clip")}};
  const Function outer{"Outer", {"a"}, {"b"}, {node("Inner", {"a"}, {"t"}, {}, "", "fn"), node("Neg", {"t"}, {"b"})}};
  const auto model = import({call("Outer", {"x"}, {"y"})}, {outer, inner});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  EXPECT_EQ(operators_of(model->graph), (std::vector<std::string>{"Clip", "Neg"}));
}

TEST(Functions, ConstantsInBodiesOutliveTheExpansion) {
  const Function f{"Scale", {"a"}, {"b"}, {node("Constant", {}, {"s"}, {tensor_attribute("value", raw_tensor("", kInt8, {4}, "abcd"))}),
                                          node("Cast", {"s"}, {"f"}, {int_attribute("to", 1)}), node("Mul", {"a", "f"}, {"b"})}};
  const auto model = import({call("Scale", {"x"}, {"y"})}, {f});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  const Tensor* codes = model->graph.constant(model->graph.nodes[0].inputs[0]);
  ASSERT_NE(codes, nullptr);
  EXPECT_EQ(codes->to_int64(), (std::vector<std::int64_t>{'a', 'b', 'c', 'd'}));
}

TEST(Functions, SubgraphsOfBodiesCaptureTheCallsValues) {
  const ProtoMessage branch = make_graph({{node("Add", {"a", "local"}, {"o"})}, {float_tensor("local", {1}, {1})}, {}, {value_info("o", kFloat, {})}});
  const Function f{"Choose", {"k", "a"}, {"b"}, {node("If", {"k"}, {"b"}, {graph_attribute("then_branch", branch), graph_attribute("else_branch", branch)})}};
  const auto model = import({call("Choose", {"c", "x"}, {"h"}), call("Choose", {"c", "h"}, {"y"})}, {f});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  const graph::GraphPtr second = model->graph.nodes[1].get_graph("then_branch");
  const graph::ValueId captured = second->find_value("h");
  ASSERT_NE(captured, graph::kNoValue);
  EXPECT_TRUE(second->value(captured).captured);
}

TEST(Functions, RefusesEndlessCalls) {
  const Function self{"Self", {"a"}, {"b"}, {call("Self", {"a"}, {"b"})}};
  const auto recursive = import({call("Self", {"x"}, {"y"})}, {self});
  ASSERT_FALSE(recursive.ok());
  EXPECT_EQ(recursive.error().code(), ErrorCode::kCorrupt);

  // Each of 40 levels calls the next twice: 2^40 nodes.
  std::vector<Function> levels;
  for (int i = 0; i < 40; ++i) {
    const std::string next = "F" + std::to_string(i + 1);
    levels.push_back({"F" + std::to_string(i), {"a"}, {"b"}, {call(next, {"a"}, {"t"}), call(next, {"t"}, {"b"})}});
  }
  levels.push_back({"F40", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})}});
  const auto bomb = import({call("F0", {"x"}, {"y"})}, levels);
  ASSERT_FALSE(bomb.ok());
  EXPECT_EQ(bomb.error().code(), ErrorCode::kResourceExhausted);
}

TEST(Functions, RefusesBadDefinitionsAndCalls) {
  const Function f{"F", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})}};
  EXPECT_FALSE(import({call("F", {"x"}, {"y"})}, {f, f}).ok());
  EXPECT_FALSE(import({call("F", {"x", "x"}, {"y"})}, {f}).ok());
  EXPECT_FALSE(import({call("F", {"x"}, {"y", "z"})}, {f}).ok());
  EXPECT_FALSE(import({call("F", {"x"}, {"y"})}, {{"", {"a"}, {"b"}, {}}}).ok());
  const Function pass{"Pass", {"a"}, {"a"}, {}};
  EXPECT_FALSE(import({call("Pass", {"x"}, {"y"})}, {pass}).ok());
  EXPECT_TRUE(import({call("Other", {"x"}, {"y"})}, {f}).ok());  // an operator of that domain, not a call
}

}  // namespace
}  // namespace narrow::formats::onnx
