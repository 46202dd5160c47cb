// The numbers behind these forms are compared with ONNX Runtime in tests/peer/onnx_opsets_peer.py.
#include <gtest/gtest.h>

#include "formats/onnx/onnx.h"
#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

using namespace narrow::tests;
using graph::kNoValue;
using Ints = std::vector<std::int64_t>;

ProtoMessage float_attribute(std::string_view name, float value) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_float(2, value);
  a.add_int(20, 1);
  return a;
}

ProtoMessage string_attribute(std::string_view name, std::string_view value) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_string(4, value);
  a.add_int(20, 3);
  return a;
}

struct Lifted {
  Result<graph::Model> model;

  const graph::Graph& g() const { return model->graph; }
  const graph::Node& only() const { return model->graph.nodes.at(0); }
  const Tensor* constant(std::size_t input) const { return g().constant(only().input(input)); }
  Ints ints(std::size_t input) const { return constant(input) == nullptr ? Ints{-999} : constant(input)->to_int64(); }
};

// One node with the inputs x f32[2,3,1,4] and, beyond, initializers.
Lifted lift(std::int64_t opset, const ProtoMessage& node, const std::vector<ProtoMessage>& initializers = {}, int type = kFloat) {
  static std::vector<std::string> kept;
  kept.push_back(make_model({{node}, initializers, {value_info("x", type, {2, 3, 1, 4})}, {value_info("y", type, {})}}, opset));
  return {import_bytes(as_bytes(kept.back()), "test.onnx")};
}

TEST(Normalise, ListsMoveFromAttributesToInputs) {
  const Lifted squeeze = lift(11, node("Squeeze", {"x"}, {"y"}, {ints_attribute("axes", {2})}));
  ASSERT_TRUE(squeeze.model.ok()) << squeeze.model.error().to_string();
  EXPECT_EQ(squeeze.ints(1), (Ints{2}));
  EXPECT_FALSE(squeeze.only().has("axes"));

  EXPECT_EQ(lift(12, node("ReduceSum", {"x"}, {"y"}, {ints_attribute("axes", {1, 3})})).ints(1), (Ints{1, 3}));
  EXPECT_EQ(lift(17, node("ReduceMean", {"x"}, {"y"}, {ints_attribute("axes", {-1})})).ints(1), (Ints{-1}));
  EXPECT_EQ(lift(10, node("Pad", {"x"}, {"y"}, {ints_attribute("pads", {0, 0, 0, 1, 0, 0, 0, 2})})).ints(1), (Ints{0, 0, 0, 1, 0, 0, 0, 2}));
  EXPECT_EQ(lift(9, node("TopK", {"x"}, {"y", "i"}, {int_attribute("k", 2)})).ints(1), (Ints{2}));

  const Lifted slice = lift(9, node("Slice", {"x"}, {"y"}, {ints_attribute("starts", {1}), ints_attribute("ends", {3}), ints_attribute("axes", {3})}));
  EXPECT_EQ(slice.ints(1), (Ints{1}));
  EXPECT_EQ(slice.ints(2), (Ints{3}));
  EXPECT_EQ(slice.ints(3), (Ints{3}));

  const Lifted split = lift(11, node("Split", {"x"}, {"y", "z"}, {ints_attribute("split", {1, 1})}));
  EXPECT_EQ(split.ints(1), (Ints{1, 1}));
  EXPECT_EQ(lift(17, node("Split", {"x"}, {"y", "z"})).only().get_int("num_outputs", 0), 2);
}

TEST(Normalise, NewerFormsAreLeftAlone) {
  const Lifted reduce = lift(18, node("ReduceMean", {"x", "axes"}, {"y"}), {int64_tensor("axes", {1}, {1})});
  ASSERT_TRUE(reduce.model.ok());
  EXPECT_EQ(reduce.only().inputs.size(), 2u);
  EXPECT_EQ(lift(13, node("Softmax", {"x"}, {"y"}, {int_attribute("axis", 1)})).only().get_int("axis", 9), 1);
}

TEST(Normalise, BoundsTakeTheTypeOfTheData) {
  const Lifted clip = lift(6, node("Clip", {"x"}, {"y"}, {float_attribute("min", 0.0f), float_attribute("max", 6.0f)}));
  ASSERT_TRUE(clip.model.ok()) << clip.model.error().to_string();
  EXPECT_EQ(clip.constant(1)->at_as_double(0), 0);
  EXPECT_EQ(clip.constant(2)->at_as_double(0), 6);
  const Lifted half = lift(10, node("Clip", {"x"}, {"y"}, {float_attribute("max", 0.5f)}), {}, kFloat16);
  EXPECT_EQ(half.only().inputs.at(1), kNoValue);
  EXPECT_EQ(half.constant(2)->dtype(), DType::kF16);
  EXPECT_EQ(half.constant(2)->at_as_double(0), 0.5);
  EXPECT_EQ(lift(10, node("Clip", {"x"}, {"y"})).only().inputs.size(), 1u);
  EXPECT_EQ(lift(10, node("Pad", {"x"}, {"y"}, {ints_attribute("pads", Ints(8, 1)), float_attribute("value", 2.0f)})).constant(2)->at_as_double(0), 2);
}

TEST(Normalise, ConstantsBecomeInitializers) {
  const auto value = [](const ProtoMessage& attribute) {
    const Lifted lifted = lift(13, node("Constant", {}, {"y"}, {attribute}));
    EXPECT_TRUE(lifted.model.ok()) << (lifted.model.ok() ? "" : lifted.model.error().to_string());
    EXPECT_TRUE(lifted.g().nodes.empty());
    return *lifted.g().constant(lifted.g().find_value("y"));
  };
  EXPECT_EQ(value(tensor_attribute("value", int64_tensor("", {2}, {3, 4}))).to_int64(), (Ints{3, 4}));
  EXPECT_EQ(value(float_attribute("value_float", 2.5f)).at_as_double(0), 2.5);
  EXPECT_EQ(value(int_attribute("value_int", -7)).to_int64(), (Ints{-7}));
  EXPECT_EQ(value(ints_attribute("value_ints", {1, 2, 3})).shape(), (Shape{3}));
  EXPECT_EQ(value(string_attribute("value_string", "text")).strings(), (std::vector<std::string>{"text"}));
  ProtoMessage sparse;
  sparse.add_message(1, float_tensor("", {1}, {5}));
  sparse.add_message(2, int64_tensor("", {1}, {2}));
  sparse.add_packed(3, Ints{4});
  EXPECT_EQ(value(message_attribute("sparse_value", 22, sparse, 11)).to_float(), (std::vector<float>{0, 0, 5, 0}));
  EXPECT_FALSE(lift(13, node("Constant", {}, {"y"})).model.ok());
}

TEST(Normalise, OldSoftmaxKeepsItsMeaning) {
  // x is [2,3,1,4]: from axis 3 only the last dimension counts, from axis 2 a 1 and the last, from axis 1 two that differ.
  for (const std::int64_t axis : {2, 3, -1}) {
    const Lifted plain = lift(11, node("Softmax", {"x"}, {"y"}, {int_attribute("axis", axis)}));
    ASSERT_TRUE(plain.model.ok());
    ASSERT_EQ(plain.g().nodes.size(), 1u) << axis;
    EXPECT_EQ(plain.only().get_int("axis", 0), -1);
  }
  const Lifted wrapped = lift(11, node("Softmax", {"x"}, {"y"}));
  ASSERT_EQ(wrapped.g().nodes.size(), 4u);
  std::vector<std::string> operators;
  for (const graph::Node& n : wrapped.g().nodes) operators.push_back(n.op_type);
  EXPECT_EQ(operators, (std::vector<std::string>{"Shape", "Flatten", "Softmax", "Reshape"}));
  EXPECT_EQ(wrapped.g().value(wrapped.g().nodes[3].outputs[0]).name, "y");
  EXPECT_TRUE(graph::verify(wrapped.g(), "test").ok());
  EXPECT_FALSE(lift(11, node("Softmax", {"x"}, {"y"}, {int_attribute("axis", 7)})).model.ok());
}

TEST(Normalise, UpsampleAndOldResizeBecomeResize) {
  ProtoMessage scales;
  scales.add_string(1, "scales");
  for (float f : {1.0f, 1.0f, 2.0f, 2.0f}) scales.add_float(7, f);
  scales.add_int(20, 6);
  const Lifted upsample = lift(7, node("Upsample", {"x"}, {"y"}, {scales}));
  ASSERT_TRUE(upsample.model.ok()) << upsample.model.error().to_string();
  EXPECT_EQ(upsample.only().op_type, "Resize");
  EXPECT_EQ(upsample.constant(2)->to_float(), (std::vector<float>{1, 1, 2, 2}));
  EXPECT_EQ(upsample.only().get_string("coordinate_transformation_mode", ""), "asymmetric");
  EXPECT_EQ(upsample.only().get_string("nearest_mode", ""), "floor");
  const auto factors = [](float a, float b) { return float_tensor("s", {4}, {1, 1, a, b}); };
  EXPECT_EQ(lift(10, node("Resize", {"x", "s"}, {"y"}), {factors(2, 2)}).only().get_string("nearest_mode", ""), "floor");
  EXPECT_EQ(lift(10, node("Resize", {"x", "s"}, {"y"}), {factors(0.5, 1)}).only().get_string("nearest_mode", ""), "ceil");
  EXPECT_FALSE(lift(10, node("Resize", {"x", "s"}, {"y"}), {factors(0.5, 2)}).model.ok());
  const Lifted sizes = lift(11, node("Resize", {"x", "roi", "s", "sizes"}, {"y"}),
                            {float_tensor("roi", {0}, {}), float_tensor("s", {0}, {}), int64_tensor("sizes", {4}, {2, 3, 2, 8})});
  EXPECT_EQ(sizes.only().inputs.at(1), kNoValue);
  EXPECT_EQ(sizes.only().inputs.at(2), kNoValue);
}

TEST(Normalise, FormsWithoutSuccessorAreRefusedByName) {
  const auto refused = [](const Lifted& lifted, const std::string& part) {
    ASSERT_FALSE(lifted.model.ok()) << part;
    EXPECT_EQ(lifted.model.error().code(), ErrorCode::kUnsupported);
    EXPECT_NE(lifted.model.error().to_string().find(part), std::string::npos) << lifted.model.error().to_string();
  };
  const std::vector<ProtoMessage> four = {float_tensor("s", {3}, {1, 1, 1}), float_tensor("b", {3}, {1, 1, 1}), float_tensor("m", {3}, {1, 1, 1}), float_tensor("v", {3}, {1, 1, 1})};
  refused(lift(7, node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"}, {int_attribute("spatial", 0)}, "bn"), four), "node 'bn'");
  refused(lift(8, node("Scan", {"", "x"}, {"y"})), "Scan of opset 8");
  const Lifted unused = lift(8, node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y", "m2", "v2", "sm", "sv"}), four);
  ASSERT_TRUE(unused.model.ok()) << unused.model.error().to_string();
  EXPECT_EQ(unused.only().outputs.size(), 1u);
}

TEST(Normalise, GroupNormalizationGetsOneScaleAChannel) {
  const Lifted group = lift(18, node("GroupNormalization", {"x", "s", "b"}, {"y"}, {int_attribute("num_groups", 3)}),
                            {float_tensor("s", {3}, {1, 2, 3}), float_tensor("b", {3}, {0, 0, 0})});
  ASSERT_TRUE(group.model.ok()) << group.model.error().to_string();
  EXPECT_EQ(group.g().nodes.size(), 7u);
  EXPECT_EQ(group.g().nodes.back().op_type, "GroupNormalization");
}

TEST(Normalise, BroadcastingBeforeOpset7) {
  // x is [2,3,1,4]: the slopes belong to its 3 channels, the addend to dimension 1 as its axis says.
  const Lifted prelu = lift(6, node("PRelu", {"x", "s"}, {"y"}), {float_tensor("s", {3}, {1, 2, 3})});
  ASSERT_TRUE(prelu.model.ok()) << prelu.model.error().to_string();
  ASSERT_EQ(prelu.g().nodes.size(), 2u);
  EXPECT_EQ(prelu.ints(1), (Ints{1, 2}));
  const Lifted add = lift(6, node("Add", {"x", "s"}, {"y"}, {int_attribute("broadcast", 1), int_attribute("axis", 1)}), {float_tensor("s", {3}, {1, 2, 3})});
  ASSERT_TRUE(add.model.ok()) << add.model.error().to_string();
  ASSERT_EQ(add.g().nodes.size(), 2u);
  EXPECT_EQ(add.ints(1), (Ints{1, 2}));
  EXPECT_TRUE(add.g().nodes[1].attributes.empty());
  EXPECT_EQ(lift(6, node("Add", {"x", "s"}, {"y"}, {int_attribute("broadcast", 1)}), {float_tensor("s", {4}, {1, 2, 3, 4})}).g().nodes.size(), 1u);
}

TEST(Normalise, ReachesIntoSubgraphs) {
  const ProtoMessage branch = make_graph({{node("Squeeze", {"x"}, {"b"}, {ints_attribute("axes", {2})})}, {}, {}, {value_info("b", kFloat, {})}});
  const std::string bytes = make_model({{node("If", {"c"}, {"y"}, {graph_attribute("then_branch", branch), graph_attribute("else_branch", branch)})}, {},
                                        {value_info("x", kFloat, {2, 3, 1, 4}), value_info("c", kBool, {})}, {value_info("y", kFloat, {})}}, 11);
  const auto model = import_bytes(as_bytes(bytes), "test.onnx");
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  const graph::GraphPtr inner = model->graph.nodes[0].get_graph("then_branch");
  EXPECT_EQ(inner->constant(inner->nodes[0].input(1))->to_int64(), (Ints{2}));
}

}  // namespace
}  // namespace narrow::formats::onnx
