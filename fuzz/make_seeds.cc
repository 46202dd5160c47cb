// make_seeds FOLDER: writes the seed corpora of the ONNX and protobuf targets, small models that between them touch every
// part of the reader and the type rules, and those of the checkpoint targets.
#include <filesystem>
#include <fstream>
#include <map>

#include "encodings/ggml/blocks.h"
#include "formats/safetensors/header.h"
#include "support/onnx_builder.h"
#include "wire/gguf.h"

namespace {

using namespace narrow::tests;
using Ints = std::vector<std::int64_t>;

const ProtoMessage kImage = value_info("x", kFloat, {1, 2, 4, 4}), kOut = value_info("y", kFloat, {});
const ProtoMessage kMatrix = value_info("x", kFloat, {-1, 4});

ProtoMessage floats_attribute(std::string_view name, const std::vector<float>& values) {
  ProtoMessage a;
  a.add_string(1, name);
  for (float v : values) a.add_float(7, v);
  a.add_int(20, 6);
  return a;
}

ProtoMessage string_attribute(std::string_view name, std::string_view value) {
  ProtoMessage a;
  a.add_string(1, name);
  a.add_string(4, value);
  a.add_int(20, 3);
  return a;
}

ProtoMessage zeros(std::string_view name, const Ints& dims) {
  std::int64_t count = 1;
  for (std::int64_t d : dims) count *= d;
  return float_tensor(name, dims, std::vector<float>(static_cast<std::size_t>(count), 0.5f));
}

std::string convolution() {
  return make_model({{node("Conv", {"x", "w", "b"}, {"c"}, {ints_attribute("kernel_shape", {3, 3}), ints_attribute("pads", {1, 1, 1, 1}), ints_attribute("strides", {2, 2}), int_attribute("group", 1)}),
                      node("BatchNormalization", {"c", "b", "b", "b", "b"}, {"n"}), node("Clip", {"n", "lo", "hi"}, {"r"}),
                      node("MaxPool", {"r"}, {"p"}, {ints_attribute("kernel_shape", {2, 2})}), node("GlobalAveragePool", {"p"}, {"g"}),
                      node("Flatten", {"g"}, {"f"}), node("Gemm", {"f", "m"}, {"y"}, {int_attribute("transB", 1)})},
                     {zeros("w", {3, 2, 3, 3}), zeros("b", {3}), zeros("m", {2, 3}), zeros("lo", {}), zeros("hi", {})}, {kImage}, {kOut}});
}

std::string old_forms() {
  return make_model({{node("Upsample", {"x"}, {"u"}, {floats_attribute("scales", {1, 1, 2, 2}), string_attribute("mode", "nearest")}),
                      node("Pad", {"u"}, {"p"}, {ints_attribute("pads", {0, 0, 1, 1, 0, 0, 1, 1})}), node("ReduceMean", {"p"}, {"r"}, {ints_attribute("axes", {2, 3})}),
                      node("Squeeze", {"r"}, {"s"}, {ints_attribute("axes", {2, 3})}), node("Softmax", {"s"}, {"t"}),
                      node("Slice", {"t"}, {"v"}, {ints_attribute("starts", {0}), ints_attribute("ends", {1})}), node("TopK", {"v"}, {"y", "i"}, {int_attribute("k", 1)})},
                     {}, {kImage}, {kOut}}, 7);
}

std::string shapes() {
  return make_model({{node("Shape", {"x"}, {"s"}), node("Gather", {"s", "i"}, {"n"}), node("Unsqueeze", {"n", "z"}, {"u"}), node("Concat", {"u", "m"}, {"t"}, {int_attribute("axis", 0)}),
                      node("Reshape", {"x", "t"}, {"r"}), node("Transpose", {"r"}, {"p"}, {ints_attribute("perm", {1, 0})}), node("Split", {"p"}, {"a", "b"}, {int_attribute("num_outputs", 2)}),
                      node("Expand", {"a", "e"}, {"y"}), node("ConstantOfShape", {"t"}, {"c"}, {tensor_attribute("value", int64_tensor("", {1}, {7}))})},
                     {int64_tensor("i", {}, {0}), int64_tensor("z", {1}, {0}), int64_tensor("m", {1}, {-1}), int64_tensor("e", {3}, {2, 1, 1})}, {kMatrix}, {kOut}}, 18);
}

std::string branches() {
  const ProtoMessage b = value_info("o", kFloat, {});
  const ProtoMessage inner = make_graph({{node("Add", {"x", "w"}, {"o"})}, {}, {}, {b}});
  const ProtoMessage outer = make_graph({{node("If", {"c"}, {"o"}, {graph_attribute("then_branch", inner), graph_attribute("else_branch", inner)})}, {}, {}, {b}});
  const ProtoMessage body = make_graph({{node("Identity", {"k"}, {"k2"}), node("Mul", {"v", "w"}, {"v2"})}, {},
                                        {value_info("n", kInt64, {}), value_info("k", kBool, {}), value_info("v", kFloat, {4})}, {value_info("k2", kBool, {}), value_info("v2", kFloat, {4})}});
  return make_model({{node("If", {"c"}, {"h"}, {graph_attribute("then_branch", outer), graph_attribute("else_branch", inner)}), node("Loop", {"trip", "c", "w"}, {"y"}, {graph_attribute("body", body)})},
                     {zeros("w", {4}), int64_tensor("trip", {}, {3})}, {kMatrix, value_info("c", kBool, {})}, {kOut, value_info("h", kFloat, {})}}, 16);
}

std::string quantized() {
  return make_model({{node("QuantizeLinear", {"x", "s", "z"}, {"q"}), node("DequantizeLinear", {"q", "s", "z"}, {"d"}),
                      node("DequantizeLinear", {"w", "ws", ""}, {"dw"}, {int_attribute("axis", 0), int_attribute("block_size", 2)}), node("MatMul", {"d", "dw"}, {"y"})},
                     {zeros("s", {}), raw_tensor("z", kUint8, {}, "\x80"), raw_tensor("w", kInt4, {4, 3}, "\x21\x43\x65\x87\xA9\xCB"), zeros("ws", {2, 3})}, {kMatrix}, {kOut}}, 21);
}

std::string recurrent() {
  return make_model({{node("LSTM", {"x", "w", "r", "b"}, {"y", "h", "c"}, {int_attribute("hidden_size", 2)}), node("GRU", {"x", "gw", "gr"}, {"g"}, {int_attribute("hidden_size", 2), int_attribute("linear_before_reset", 1)})},
                     {zeros("w", {1, 8, 3}), zeros("r", {1, 8, 2}), zeros("b", {1, 16}), zeros("gw", {1, 6, 3}), zeros("gr", {1, 6, 2})}, {value_info("x", kFloat, {-1, 1, 3})}, {kOut}}, 14);
}

std::string storage() {
  ProtoMessage typed = tensor_header("t", kInt32, {3});
  typed.add_packed(5, Ints{1, -2, 3});
  ProtoMessage strings = tensor_header("s", kString, {2});
  strings.add_string(6, "a");
  strings.add_string(6, "b");
  ProtoMessage sparse;
  sparse.add_message(1, float_tensor("p", {1}, {5}));
  sparse.add_message(2, int64_tensor("", {1}, {2}));
  sparse.add_packed(3, Ints{4});
  ProtoMessage annotation;
  annotation.add_string(1, "y");
  ProtoMessage g = make_graph({{node("Add", {"x", "p"}, {"y"}), node("Mystery", {"t", "s", ""}, {"m", ""}, {}, "", "my.domain")}, {typed, strings}, {kMatrix}, {kOut}, {}, {sparse}});
  g.add_message(14, annotation);
  return make_model(g, 17, {opset_import("my.domain", 1)});
}

std::string resizing() {
  return make_model({{node("Resize", {"x", "", "f"}, {"r"}, {string_attribute("mode", "linear"), string_attribute("coordinate_transformation_mode", "half_pixel")}),
                      node("ConvTranspose", {"r", "w"}, {"t"}, {ints_attribute("strides", {2, 2})}), node("DepthToSpace", {"t"}, {"d"}, {int_attribute("blocksize", 2)}),
                      node("InstanceNormalization", {"d", "a", "a"}, {"n"}), node("Einsum", {"n", "n"}, {"y"}, {string_attribute("equation", "bchw,bchw->bc")})},
                     {float_tensor("f", {4}, {1, 1, 2, 2}), zeros("w", {2, 4, 2, 2}), zeros("a", {1})}, {kImage}, {kOut}}, 18);
}

// A model-local function of two nodes, called twice.
std::string functions() {
  ProtoMessage f, opset = opset_import("", 17);
  f.add_string(1, "Twice");
  f.add_string(4, "a");
  f.add_string(5, "b");
  f.add_string(6, "axis");
  ProtoMessage reference;
  reference.add_string(1, "axis");
  reference.add_int(20, 2);
  reference.add_string(21, "axis");
  f.add_message(7, node("Add", {"a", "a"}, {"t"}));
  f.add_message(7, node("Softmax", {"t"}, {"b"}, {reference}));
  f.add_message(9, opset);
  f.add_string(10, "my.functions");
  ProtoMessage m;
  m.add_int(1, 8);
  m.add_message(7, make_graph({{node("Twice", {"x"}, {"h"}, {int_attribute("axis", 1)}, "", "my.functions"), node("Twice", {"h"}, {"y"}, {}, "", "my.functions")}, {}, {kMatrix}, {kOut}}));
  m.add_message(8, opset);
  m.add_message(8, opset_import("my.functions", 1));
  m.add_message(25, f);
  return m.to_string();
}

std::string safetensors() {
  const auto layout = narrow::formats::safetensors::make_layout(
      std::vector<narrow::formats::TensorSpec>{{"a.weight", narrow::DType::kBF16, {2, 3}}, {"b", narrow::DType::kBool, {4}}, {"c", narrow::DType::kF4E2M1, {3}}, {"none", narrow::DType::kS64, {0}}}, {{"format", "pt"}});
  std::string file = layout->header;
  file.resize(layout->file_bytes, '\1');
  return file;
}

// A tensor of every type, and a value of every kind.
std::string gguf() {
  using namespace narrow;
  wire::GgufMetadata m;
  m.set("general.architecture", wire::GgufValue::text("llama"));
  m.set("general.alignment", wire::GgufValue::u32(64));
  m.set("tokens", wire::GgufValue::texts({"<s>", "a"}));
  m.set("scores", wire::GgufValue::f32s(std::vector<float>{0, -1}));
  m.set("kinds", wire::GgufValue::s32s(std::vector<std::int32_t>{3, 1}));
  m.set("flag", wire::GgufValue::flag(true));
  m.set("f32", wire::GgufValue::f32(1e-5f));
  m.set("u64", wire::GgufValue::u64(1));
  std::vector<wire::GgufTensor> tensors;
  std::uint64_t at = 0;
  for (const encodings::GgmlBlocks& type : encodings::ggml_types()) {
    tensors.push_back({std::string(type.name), {type.elements}, static_cast<std::uint32_t>(type.type), at});
    at = (at + static_cast<std::uint64_t>(type.bytes) + 63) / 64 * 64;
  }
  std::string file = *wire::gguf_head_bytes(m, tensors);
  file.resize(file.size() + at, '\x2A');
  return file;
}

// Dimensions 4, 4, 1 layer, 2 heads, 1 of keys, 3 tokens, 2 positions.
std::string llama2c(int version) {
  std::string file;
  const auto put = [&](std::int32_t v) { file.append(reinterpret_cast<const char*>(&v), 4); };
  if (version != 0) put(0x616B3432);
  if (version != 0) put(version);
  for (const std::int32_t v : {4, 4, 1, 2, 1, version == 0 ? -3 : 3, 2}) put(v);
  if (version == 0) {
    file.resize(file.size() + 4 * (12 + 4 + 16 + 8 + 8 + 16 + 4 + 48 + 4 + 4 + 12), '\x3D');
    return file;
  }
  file += '\1';
  put(4);
  file.resize(256);
  const std::size_t matrices = 12 + 16 + 8 + 8 + 16 + 48;
  file.resize(file.size() + 4 * 12 + (version == 1 ? 4 * matrices : matrices + matrices / 4 * 4), '\x3D');
  return file;
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::map<std::string, std::string> seeds = {
      {"convolution", convolution()}, {"old_forms", old_forms()}, {"shapes", shapes()},     {"branches", branches()},   {"quantized", quantized()},
      {"recurrent", recurrent()},     {"storage", storage()},     {"resizing", resizing()}, {"functions", functions()},
  };
  const std::filesystem::path folder = argv[1];
  for (const char* target : {"onnx_import", "protobuf"}) {
    for (const auto& [name, bytes] : seeds) {
      if (std::string(target) == "protobuf" && bytes.size() > 700) continue;
      write(folder / target / (name + ".onnx"), bytes);
    }
  }
  write(folder / "safetensors/small.safetensors", safetensors());
  write(folder / "gguf/every_type.gguf", gguf());
  for (const int version : {0, 1, 2}) write(folder / "llama2c" / ("version" + std::to_string(version) + ".bin"), llama2c(version));
  return 0;
}
