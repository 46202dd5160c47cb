#include <gtest/gtest.h>

#include "formats/onnx/onnx.h"
#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

using namespace narrow::tests;
using graph::kNoValue;

Result<graph::Model> import(const std::string& bytes) {
  static std::vector<std::string> kept;
  kept.push_back(bytes);
  return import_bytes(as_bytes(kept.back()), "test.onnx");
}

graph::Model import_ok(const std::string& bytes) {
  auto model = import(bytes);
  EXPECT_TRUE(model.ok()) << model.error().to_string();
  return model.ok() ? *std::move(model) : graph::Model{};
}

void expect_error(const std::string& bytes, ErrorCode code, const std::string& part) {
  const auto model = import(bytes);
  ASSERT_FALSE(model.ok()) << "expected: " << part;
  EXPECT_EQ(model.error().code(), code) << model.error().to_string();
  EXPECT_NE(model.error().to_string().find(part), std::string::npos) << model.error().to_string();
}

const ProtoMessage kX = value_info("x", kFloat, {-1, 3});
const ProtoMessage kY = value_info("y", kFloat, {-1, 3});

TEST(OnnxReader, KeepsNamesTypesAndOrder) {
  const auto model = import_ok(make_model({{node("Relu", {"h"}, {"y"}, {}, "second"), node("Abs", {"x"}, {"h"})}, {}, {kX}, {kY},
                                                    {value_info("h", kFloat, {-1, 3})}}));
  const graph::Graph& g = model.graph;
  ASSERT_EQ(g.nodes.size(), 2u);
  EXPECT_EQ(g.nodes[0].op_type, "Abs");  // order restored
  EXPECT_EQ(g.nodes[0].name, "Abs_0");   // and named
  EXPECT_EQ(g.nodes[1].name, "second");
  EXPECT_EQ(to_string(g.value(g.find_value("h")).type), "f32[N,3]");
  EXPECT_EQ(model.opsets.at(""), 17);
  EXPECT_EQ(model.ir_version, 8);
}

TEST(OnnxReader, RepeatedNodeNamesBecomeUnique) {
  const auto model = import_ok(make_model({{node("Relu", {"x"}, {"a"}, {}, "n"), node("Relu", {"a"}, {"b"}, {}, "n_0"), node("Relu", {"b"}, {"y"}, {}, "n")}, {}, {kX}, {kY}}));
  ASSERT_EQ(model.graph.nodes.size(), 3u);
  EXPECT_EQ(model.graph.nodes[0].name, "n");
  EXPECT_EQ(model.graph.nodes[1].name, "n_0");
  EXPECT_EQ(model.graph.nodes[2].name, "n_1");
}

TEST(OnnxReader, InitializersThatAreInputsStayBoth) {
  const auto model = import_ok(make_model({{node("Add", {"x", "w"}, {"y"})}, {float_tensor("w", {3}, {1, 2, 3})}, {kX, value_info("w", kFloat, {3})}, {kY}}));
  ASSERT_EQ(model.graph.inputs.size(), 2u);
  EXPECT_NE(model.graph.constant(model.graph.inputs[1]), nullptr);
}

TEST(OnnxReader, OmittedInputsAndOutputs) {
  const auto model = import_ok(make_model({{node("Clip", {"x", "", "high"}, {"y"}), node("Dropout", {"x"}, {"z", ""})}, {float_tensor("high", {}, {1})}, {kX}, {kY}}));
  EXPECT_EQ(model.graph.nodes[0].inputs[1], kNoValue);
  EXPECT_EQ(model.graph.nodes[1].outputs[1], kNoValue);
}

// A branch that adds two outer values, `levels` Ifs deep.
ProtoMessage nested_branch(int levels) {
  const ProtoMessage out = value_info("inner" + std::to_string(levels), kFloat, {-1, 3});
  if (levels == 0) return make_graph({{node("Add", {"x", "w"}, {"inner0"})}, {}, {}, {out}});
  const ProtoMessage body = nested_branch(levels - 1);
  return make_graph({{node("If", {"c"}, {"inner" + std::to_string(levels)}, {graph_attribute("then_branch", body), graph_attribute("else_branch", body)})}, {}, {}, {out}});
}

std::string nested_model(int levels) {
  const ProtoMessage body = nested_branch(levels);
  return make_model({{node("If", {"c"}, {"y"}, {graph_attribute("then_branch", body), graph_attribute("else_branch", body)})},
                              {float_tensor("w", {3}, {1, 2, 3})}, {kX, value_info("c", kBool, {})}, {kY}});
}

TEST(OnnxReader, SubgraphsCaptureThroughEveryLevel) {
  const auto model = import_ok(nested_model(2));
  const graph::Graph* g = &model.graph;
  for (int level = 0; level < 3; ++level) {
    g = g->nodes.at(0).get_graph("then_branch").get();
    ASSERT_NE(g, nullptr);
    for (const char* name : {"x", "w"}) {
      const graph::ValueId id = g->find_value(name);
      ASSERT_NE(id, kNoValue) << name << " at level " << level;
      EXPECT_TRUE(g->value(id).captured);
    }
  }
  EXPECT_EQ(to_string(g->value(g->find_value("w")).type), "f32[3]");
}

TEST(OnnxReader, CapsTheNestingOfGraphs) {
  // The branches double with each level, so the deep file has one branch a level only.
  ProtoMessage body = make_graph({{node("Identity", {"x"}, {"o"})}, {}, {}, {value_info("o", kFloat, {-1, 3})}});
  const auto wrap = [&](int levels) {
    ProtoMessage g = body;
    for (int i = 0; i < levels; ++i) g = make_graph({{node("If", {"c"}, {"o" + std::to_string(i)}, {graph_attribute("then_branch", g)})}, {}, {}, {value_info("o" + std::to_string(i), kFloat, {})}});
    return make_model({{node("If", {"c"}, {"y"}, {graph_attribute("then_branch", g)})}, {}, {kX, value_info("c", kBool, {})}, {kY}});
  };
  EXPECT_TRUE(import(wrap(62)).ok());
  expect_error(wrap(63), ErrorCode::kCorrupt, "nested more than 64 deep");
  expect_error(wrap(2000), ErrorCode::kCorrupt, "nested more than 64 deep");
}

TEST(OnnxReader, RefusesBrokenGraphs) {
  const auto one = [](std::vector<ProtoMessage> nodes, std::vector<ProtoMessage> initializers = {}) {
    return make_model({std::move(nodes), std::move(initializers), {kX}, {kY}});
  };
  expect_error(one({node("Relu", {"nope"}, {"y"})}), ErrorCode::kCorrupt, "reads 'nope'");
  expect_error(one({node("Relu", {"b"}, {"y"}), node("Relu", {"y"}, {"b"})}), ErrorCode::kCorrupt, "cycle");
  expect_error(one({node("Relu", {"y"}, {"y"})}), ErrorCode::kCorrupt, "cycle");
  expect_error(one({node("Relu", {"x"}, {"y"}), node("Abs", {"x"}, {"y"})}), ErrorCode::kCorrupt, "second time");
  expect_error(one({node("Relu", {"x"}, {"x"})}), ErrorCode::kCorrupt, "second time");
  expect_error(one({node("Relu", {"x"}, {"y"})}, {float_tensor("y", {1}, {1})}), ErrorCode::kCorrupt, "second time");
  expect_error(one({node("Relu", {"x"}, {"y"})}, {float_tensor("w", {1}, {1}), float_tensor("w", {1}, {1})}), ErrorCode::kCorrupt, "two initializers");
  expect_error(one({node("Relu", {"x"}, {"y"})}, {int64_tensor("x", {1}, {1})}), ErrorCode::kCorrupt, "the graph input of that name");
  expect_error(one({node("Relu", {"x"}, {"z"})}), ErrorCode::kCorrupt, "graph output 'y'");
  expect_error(one({node("", {"x"}, {"y"})}), ErrorCode::kCorrupt, "no operator");
  expect_error(one({node("Frobnicate", {"x"}, {"y"})}), ErrorCode::kUnsupported, "no operator 'Frobnicate'");
  expect_error(one({node("Rellu", {"x"}, {"y"})}), ErrorCode::kUnsupported, "did you mean 'Relu'");
  expect_error(one({node("Gelu", {"x"}, {"y"})}), ErrorCode::kCorrupt, "exists since opset 20");
  expect_error(one({node("Dropout", {}, {"y"})}), ErrorCode::kCorrupt, "expected 1");
  expect_error(one({node("Relu", {"x"}, {"y"}, {int_attribute("a", 1), int_attribute("a", 2)})}), ErrorCode::kCorrupt, "given twice");
  ProtoMessage reference;
  reference.add_string(1, "a");
  reference.add_string(21, "outer");
  expect_error(one({node("Relu", {"x"}, {"y"}, {reference})}), ErrorCode::kCorrupt, "in no function");
  ProtoMessage nonsense;
  nonsense.add_string(1, "a");
  nonsense.add_int(20, 77);
  expect_error(one({node("Relu", {"x"}, {"y"}, {nonsense})}), ErrorCode::kCorrupt, "the type 77");
}

TEST(OnnxReader, RefusesBrokenModels) {
  const ProtoMessage g = make_graph({{node("Relu", {"x"}, {"y"})}, {}, {kX}, {kY}});
  expect_error("", ErrorCode::kCorrupt, "is empty");
  expect_error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ErrorCode::kCorrupt, "git lfs pull");
  expect_error(make_model(g, 99999), ErrorCode::kUnsupported, "opset 99999");
  expect_error(make_model(g, 0), ErrorCode::kCorrupt, "version 0");
  expect_error(make_model(g, 17, {opset_import("ai.onnx", 18)}), ErrorCode::kCorrupt, "imported twice");
  expect_error(make_model(g, 17, {}, 2), ErrorCode::kUnsupported, "IR version 2");
  expect_error(make_model(g, 17, {}, 99), ErrorCode::kUnsupported, "IR version 99");
  ProtoMessage no_graph;
  no_graph.add_int(1, 8);
  expect_error(no_graph.to_string(), ErrorCode::kCorrupt, "no graph");
  ProtoMessage no_opset;
  no_opset.add_int(1, 8);
  no_opset.add_message(7, g);
  expect_error(no_opset.to_string(), ErrorCode::kCorrupt, "does not import");
  no_opset.add_message(7, g);
  expect_error(no_opset.to_string(), ErrorCode::kCorrupt, "two graphs");
}

TEST(OnnxReader, ForeignOperatorsSurvive) {
  ProtoMessage type_attribute;
  type_attribute.add_string(1, "kind");
  type_attribute.add_string(14, "\x0a\x02\x08\x01");
  type_attribute.add_int(20, 13);
  const auto model = import_ok(make_model(make_graph({{node("Mystery", {"x"}, {"y"}, {type_attribute, ints_attribute("k", {1, 2})}, "m", "my.domain")}, {}, {kX}, {kY}}), 17, {opset_import("my.domain", 3)}));
  ASSERT_EQ(model.graph.nodes.size(), 1u);
  EXPECT_EQ(model.graph.nodes[0].domain, "my.domain");
  EXPECT_EQ(model.graph.nodes[0].get_ints("k"), (std::vector<std::int64_t>{1, 2}));
  ASSERT_NE(model.graph.nodes[0].get_type("kind"), nullptr);
  EXPECT_EQ(model.opsets.at("my.domain"), 3);
}

TEST(OnnxReader, AttributesWithoutTypeAreRecognised) {
  ProtoMessage old;  // IR version 1 files leave AttributeProto.type out
  old.add_string(1, "axis");
  old.add_int(3, 1);
  const auto model = import_ok(make_model({{node("Flatten", {"x"}, {"y"}, {old})}, {}, {kX}, {kY}}));
  EXPECT_EQ(model.graph.nodes[0].get_int("axis", 0), 1);
}

}  // namespace
}  // namespace narrow::formats::onnx
