#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "formats/onnx/lower.h"
#include "formats/onnx/onnx.h"
#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

namespace fs = std::filesystem;
using namespace narrow::tests;
using Ints = std::vector<std::int64_t>;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("narrow_writer_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const char* name) const { return (path_ / name).string(); }
  std::size_t files() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator())); }

 private:
  fs::path path_;
};

graph::Model import_kept(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  auto model = import_bytes(as_bytes(*owner), "test.onnx", owner);
  EXPECT_TRUE(model.ok()) << model.error().to_string();
  return model.ok() ? *std::move(model) : graph::Model{};
}

// Exported and imported again.
graph::Model again(const graph::Model& model) {
  auto bytes = export_bytes(model);
  EXPECT_TRUE(bytes.ok());
  return import_kept(*std::move(bytes));
}

graph::Model one_node(std::int64_t opset, const ProtoMessage& node, const std::vector<ProtoMessage>& initializers = {}) {
  return import_kept(make_model({{node}, initializers, {value_info("x", kFloat, {2, 3, 1, 4})}, {value_info("y", kFloat, {})}}, opset));
}

TEST(OnnxWriter, CarriesEverything) {
  ProtoMessage type_attribute, entry, annotation, training, function;
  type_attribute.add_string(1, "kind");
  type_attribute.add_string(14, "\x0a\x02\x08\x01");
  type_attribute.add_int(20, 13);
  entry.add_string(1, "key");
  entry.add_string(2, "value");
  annotation.add_string(1, "h");
  training.add_string(99, "opaque");
  ProtoMessage noted = node("Relu", {"x"}, {"h"}, {}, "first");
  noted.add_string(6, "a note");
  noted.add_message(9, entry);
  ProtoMessage g = make_graph({{noted, node("Mystery", {"h", "", "w"}, {"y", ""}, {type_attribute}, "second", "my.domain")},
                               {float_tensor("w", {3}, {1, 2, 3})}, {value_info("x", kFloat, {-1, 3}), value_info("w", kFloat, {3})},
                               {value_info("y", kFloat, {-1})}, {value_info("h", kFloat, {-1, 3})}});
  g.add_message(14, annotation);
  ProtoMessage m;
  m.add_int(1, 10);
  m.add_string(2, "producer");
  m.add_string(6, "model note");
  m.add_message(7, g);
  m.add_message(8, opset_import("", 17));
  m.add_message(8, opset_import("my.domain", 3));
  m.add_message(14, entry);
  m.add_message(20, training);
  const graph::Model model = again(import_kept(m.to_string()));
  const graph::Graph& out = model.graph;
  ASSERT_EQ(out.nodes.size(), 2u);
  EXPECT_EQ(out.nodes[0].name, "first");
  EXPECT_EQ(out.nodes[0].doc, "a note");
  EXPECT_EQ(out.nodes[0].metadata.at("key"), "value");
  EXPECT_EQ(out.nodes[1].domain, "my.domain");
  EXPECT_EQ(out.nodes[1].inputs[1], graph::kNoValue);
  EXPECT_EQ(out.nodes[1].outputs[1], graph::kNoValue);
  ASSERT_NE(out.nodes[1].get_type("kind"), nullptr);
  EXPECT_EQ(to_string(*out.nodes[1].get_type("kind")), "f32[*]");
  EXPECT_EQ(to_string(out.value(out.find_value("h")).type), "f32[N,3]");
  EXPECT_EQ(out.inputs.size(), 2u);
  EXPECT_EQ(model.producer_name, "producer");
  EXPECT_EQ(model.doc, "model note");
  EXPECT_EQ(model.metadata.at("key"), "value");
  EXPECT_EQ(model.opsets.at("my.domain"), 3);
  EXPECT_EQ(model.opsets.at(""), 17);
  EXPECT_EQ(model.foreign.size(), 2u);  // training and the graph's annotation
  EXPECT_EQ(again(model).foreign, model.foreign);
}

TEST(OnnxWriter, OldFormsComeBack) {
  const graph::Model squeeze = one_node(11, node("Squeeze", {"x"}, {"y"}, {ints_attribute("axes", {2})}));
  EXPECT_EQ(required_opset(squeeze.graph, 7), 7);
  graph::Graph lowered = squeeze.graph.clone();
  lower(lowered, 11);
  EXPECT_EQ(lowered.nodes[0].get_ints("axes"), (Ints{2}));
  EXPECT_EQ(lowered.nodes[0].inputs.size(), 1u);
  EXPECT_EQ(again(squeeze).opsets.at(""), 11);
  lowered = squeeze.graph.clone();
  lower(lowered, 13);
  EXPECT_EQ(lowered.nodes[0].inputs.size(), 2u);
}

TEST(OnnxWriter, WhatCannotBeSaidRaisesTheOpset) {
  // Axes that are computed, or may be overridden, cannot be an attribute.
  const graph::Model computed = import_kept(make_model({{node("Squeeze", {"x", "a"}, {"y"})}, {},
      {value_info("x", kFloat, {2, 3, 1, 4}), value_info("a", kInt64, {1})}, {value_info("y", kFloat, {})}}, 13));
  EXPECT_EQ(required_opset(computed.graph, 7), 13);
  const graph::Model overridable = import_kept(make_model({{node("Squeeze", {"x", "a"}, {"y"})}, {int64_tensor("a", {1}, {2})},
      {value_info("x", kFloat, {2, 3, 1, 4}), value_info("a", kInt64, {1})}, {value_info("y", kFloat, {})}}, 13));
  EXPECT_EQ(required_opset(overridable.graph, 7), 13);
  EXPECT_EQ(required_opset(one_node(18, node("ReduceMean", {"x"}, {"y"}, {int_attribute("noop_with_empty_axes", 1)})).graph, 7), 18);
  EXPECT_EQ(required_opset(one_node(18, node("ReduceMean", {"x"}, {"y"})).graph, 7), 7);
  EXPECT_EQ(required_opset(one_node(13, node("Softmax", {"x"}, {"y"}, {int_attribute("axis", 1)})).graph, 7), 13);
  EXPECT_EQ(required_opset(one_node(13, node("Softmax", {"x"}, {"y"}, {int_attribute("axis", -1)})).graph, 7), 7);
  EXPECT_EQ(required_opset(one_node(20, node("Gelu", {"x"}, {"y"})).graph, 7), 20);
  EXPECT_EQ(required_opset(one_node(13, node("Concat", {"x", "x"}, {"y"}, {int_attribute("axis", -1)})).graph, 7), 11);
  EXPECT_EQ(required_opset(one_node(21, node("GroupNormalization", {"x", "s", "s"}, {"y"}, {int_attribute("num_groups", 3)}),
                                    {float_tensor("s", {3}, {1, 1, 1})}).graph, 7), 21);
}

// A weight of `codes` through DequantizeLinear, as a quantizer leaves it.
graph::Graph dequantize(Tensor codes, Tensor scale, const std::vector<std::pair<const char*, std::int64_t>>& attributes = {}) {
  graph::Graph g;
  graph::Node n;
  n.name = n.op_type = "DequantizeLinear";
  n.inputs = {g.add_constant("codes", std::move(codes)), g.add_constant("scale", std::move(scale))};
  n.outputs = {g.add_value("y", graph::Type::tensor(DType::kF32))};
  for (const auto& [name, value] : attributes) n.set(name, value);
  g.outputs = n.outputs;
  g.nodes.push_back(std::move(n));
  return g;
}

TEST(OnnxWriter, QuantizedTypesChooseTheOpset) {
  const Tensor s8 = *Tensor::create(DType::kS8, {4, 4}), s4 = *Tensor::create(DType::kS4, {4, 4}), s16 = *Tensor::create(DType::kS16, {4, 4});
  const Tensor one = Tensor::scalar(0.5f), four = Tensor::from<float>({4}, {1, 1, 1, 1}), blocks = Tensor::from<float>({2, 4}, {1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_EQ(required_opset(dequantize(s8, one), 7), 10);
  EXPECT_EQ(required_opset(dequantize(s8, four, {{"axis", 0}}), 7), 13);
  EXPECT_EQ(required_opset(dequantize(s8, blocks, {{"axis", 0}, {"block_size", 2}}), 7), 21);
  EXPECT_EQ(required_opset(dequantize(s4, one), 7), 21);
  EXPECT_EQ(required_opset(dequantize(s16, one), 7), 21);
  EXPECT_EQ(required_opset(dequantize(*Tensor::create(DType::kF8E4M3FN, {4}), one), 7), 19);
  EXPECT_EQ(required_opset(dequantize(s8, *Tensor::create(DType::kF16, {})), 7), 19);
  EXPECT_EQ(ir_version_of(10), 5);
  EXPECT_EQ(ir_version_of(13), 7);
  EXPECT_EQ(ir_version_of(21), 10);

  graph::Model model;  // from another format: opset 13 unless more is needed
  model.graph = dequantize(s8, one, {{"axis", 1}});
  EXPECT_EQ(again(model).opsets.at(""), 13);
  model.graph = dequantize(s4, four, {{"axis", 0}});
  const graph::Model four_bits = again(model);
  EXPECT_EQ(four_bits.opsets.at(""), 21);
  EXPECT_EQ(four_bits.ir_version, 10);
}

TEST(OnnxWriter, EveryTypeGoesToRawData) {
  for (int i = 1; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::kString) continue;
    Result<Tensor> tensor = Tensor::create(dtype, {3, 5});
    ASSERT_TRUE(tensor.ok());
    auto* bytes = static_cast<std::uint8_t*>(tensor->mutable_raw());
    for (std::uint64_t b = 0; b < tensor->bytes(); ++b) bytes[b] = dtype == DType::kBool ? b % 2 : static_cast<std::uint8_t>(b * 3 + 1);
    graph::Model model;
    model.graph.outputs = {model.graph.add_constant("t", *tensor)};
    const graph::Model read = again(model);
    const Tensor* back = read.graph.constant(read.graph.find_value("t"));
    ASSERT_NE(back, nullptr);
    EXPECT_EQ(back->dtype(), dtype);
    EXPECT_EQ(back->shape(), (Shape{3, 5}));
    EXPECT_TRUE(std::equal(back->byte_span().begin(), back->byte_span().end(), tensor->byte_span().begin(), tensor->byte_span().end())) << to_string(dtype);
  }
}

graph::Model with_weights() {
  const std::vector<float> big(1000, 1.5f), small(4, 2.0f);
  return import_kept(make_model({{node("Add", {"x", "big"}, {"h"}), node("Add", {"h", "small"}, {"y"})},
                                 {float_tensor("big", {1000}, big), float_tensor("small", {4}, small)},
                                 {value_info("x", kFloat, {1000})}, {value_info("y", kFloat, {})}}));
}

TEST(OnnxWriter, LargeModelsGetADataFile) {
  Folder folder;
  const graph::Model model = with_weights();
  ASSERT_TRUE(export_file(model, folder / "inline.onnx", {}).ok());
  EXPECT_EQ(folder.files(), 1u);
  ASSERT_TRUE(export_file(model, folder / "m.onnx", {.external_data_above = 1024}).ok());
  EXPECT_EQ(folder.files(), 3u);
  EXPECT_EQ(fs::file_size(folder / "m.onnx.data"), 4000u);
  EXPECT_LT(fs::file_size(folder / "m.onnx"), 1000u);
  auto read = import_file(folder / "m.onnx", {});
  ASSERT_TRUE(read.ok()) << read.error().to_string();
  EXPECT_EQ(read->graph.constant(read->graph.find_value("big"))->to_float(), std::vector<float>(1000, 1.5f));
  EXPECT_EQ(read->graph.constant(read->graph.find_value("small"))->to_float(), std::vector<float>(4, 2.0f));

  // The data file is mapped now; writing over both files must not disturb what was read.
  ASSERT_TRUE(export_file(*read, folder / "m.onnx", {.external_data_above = 1024}).ok());
  EXPECT_EQ(read->graph.constant(read->graph.find_value("big"))->to_float(), std::vector<float>(1000, 1.5f));
  EXPECT_TRUE(import_file(folder / "m.onnx", {}).ok());
  EXPECT_EQ(folder.files(), 3u);
}

TEST(OnnxWriter, ExternalTensorsStartPagesAndAreStoredOnce) {
  Folder folder;
  graph::Model model;
  const Tensor shared = *Tensor::create(DType::kF32, {2000});
  for (const char* name : {"a", "b"}) model.graph.outputs.push_back(model.graph.add_constant(name, shared));
  model.graph.outputs.push_back(model.graph.add_constant("c", Tensor::from<float>({2000}, std::vector<float>(2000, 3.0f))));
  ASSERT_TRUE(export_file(model, folder / "m.onnx", {.external_data_above = 1}).ok());
  EXPECT_EQ(fs::file_size(folder / "m.onnx.data"), 8192u + 8000u);
  const auto read = import_file(folder / "m.onnx", {});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->graph.constant(read->graph.find_value("a"))->raw(), read->graph.constant(read->graph.find_value("b"))->raw());
  EXPECT_EQ(read->graph.constant(read->graph.find_value("c"))->to_float()[1999], 3.0f);
}

TEST(OnnxWriter, FailureLeavesNothingBehind) {
  Folder folder;
  const graph::Model model = with_weights();
  EXPECT_FALSE(export_file(model, folder / "missing/m.onnx", {}).ok());
  fs::create_directory(folder / "m.onnx");  // the model cannot be written, the data file could
  EXPECT_FALSE(export_file(model, folder / "m.onnx", {.external_data_above = 1024}).ok());
  EXPECT_EQ(folder.files(), 1u);
  EXPECT_EQ(export_file(model, folder / "x.onnx", {.opset = 6}).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace narrow::formats::onnx
