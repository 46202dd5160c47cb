#include <gtest/gtest.h>

#include <functional>

#include "formats/format.h"
#include "formats/onnx/onnx.h"
#include "operators/infer.h"
#include "support/malformed_files.h"
#include "support/onnx_builder.h"

namespace narrow {
namespace {

using namespace narrow::tests;

// A model of every kind of part, below 4 KB.
std::string sample() {
  const ProtoMessage branch = make_graph({{node("Add", {"h", "w"}, {"o"})}, {}, {}, {value_info("o", kFloat, {-1, 4})}});
  ProtoMessage typed = tensor_header("axes", kInt64, {1});
  typed.add_packed(7, std::vector<std::int64_t>{1});
  ProtoMessage sparse;
  sparse.add_message(1, float_tensor("p", {1}, {5}));
  sparse.add_message(2, int64_tensor("", {1}, {2}));
  sparse.add_packed(3, std::vector<std::int64_t>{4});
  return make_model({{node("QuantizeLinear", {"x", "s", "z"}, {"q"}), node("DequantizeLinear", {"q", "s", "z"}, {"h"}),
                      node("If", {"c"}, {"i"}, {graph_attribute("then_branch", branch), graph_attribute("else_branch", branch)}, "choice"),
                      node("Gemm", {"i", "m", "p"}, {"g"}, {int_attribute("transB", 1)}), node("ReduceMean", {"g"}, {"r"}, {ints_attribute("axes", {1})}),
                      node("Constant", {}, {"shape"}, {tensor_attribute("value", int64_tensor("", {2}, {-1, 1}))}), node("Reshape", {"r", "shape"}, {"t"}),
                      node("Squeeze", {"t", "axes"}, {"y"})},
                     {float_tensor("s", {}, {0.1f}), raw_tensor("z", kUint8, {}, "\x80"), float_tensor("w", {4}, {1, 2, 3, 4}),
                      float_tensor("m", {4, 4}, std::vector<float>(16, 0.5f)), typed},
                     {value_info("x", kFloat, {-1, 4}), value_info("c", kBool, {})}, {value_info("y", kFloat, {-1})}, {}, {sparse}}, 17);
}

// Everything a file goes through before anything runs. True when it was accepted.
bool digest(const std::string& bytes) {
  Result<graph::Model> model = formats::onnx::import_bytes(as_bytes(bytes), "corrupt.onnx");
  if (!model.ok()) {
    EXPECT_FALSE(model.error().to_string().empty());
    return false;
  }
  if (!operators::infer_types(model->graph).ok()) return false;
  const Result<std::string> written = formats::onnx::export_bytes(*model);
  EXPECT_TRUE(written.ok());
  if (written.ok()) {
    const auto again = formats::onnx::import_bytes(as_bytes(*written), "again.onnx");
    EXPECT_TRUE(again.ok()) << again.error().to_string();
  }
  return true;
}

TEST(OnnxCorruption, TheSampleItselfIsSound) {
  EXPECT_LT(sample().size(), 4096u);
  EXPECT_TRUE(digest(sample()));
}

TEST(OnnxCorruption, CutAtEveryByte) {
  const std::string whole = sample();
  int accepted = 0;
  for (std::size_t n = 0; n < whole.size(); ++n) accepted += digest(whole.substr(0, n));
  EXPECT_EQ(accepted, 0);  // the opset import comes last, and without it no operator has a meaning
}

TEST(OnnxCorruption, EveryByteChanged) {
  const std::string whole = sample();
  int accepted = 0;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      accepted += digest(changed);
    }
  }
  EXPECT_GT(accepted, 100);                                  // weights and names may change
  EXPECT_LT(accepted, static_cast<int>(whole.size()) * 2);   // structure may not
}

// Every field of every message inside `bytes`, cut at every byte, with the lengths around it put right again, so that the
// damage is met where it is and not at the outermost length. `wrap` makes the whole file of a changed message.
void cut_inside(const std::string& bytes, int depth, const std::function<void(const std::string&)>& wrap) {
  std::vector<wire::ProtoField> fields;
  wire::ProtoReader reader(as_bytes(bytes));
  for (wire::ProtoField field;; fields.push_back(field)) {
    const Result<bool> more = reader.next(field);
    if (!more.ok()) return;  // a name or a weight, no message
    if (!*more) break;
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].type != wire::WireType::kBytes) continue;
    const auto replaced = [&](std::string_view payload) {
      ProtoMessage message;
      for (std::size_t j = 0; j < fields.size(); ++j) {
        if (j == i) message.add_string(fields[j].number, payload);
        else message.add_field(fields[j]);
      }
      return message.to_string();
    };
    const std::string payload(fields[i].text());
    for (std::size_t n = 0; n < payload.size(); ++n) wrap(replaced(std::string_view(payload).substr(0, n)));
    if (depth < 10) cut_inside(payload, depth + 1, [&](const std::string& inner) { wrap(replaced(inner)); });
  }
}

TEST(OnnxCorruption, EveryFieldCutInPlace) {
  int files = 0, accepted = 0;
  cut_inside(sample(), 0, [&](const std::string& bytes) {
    ++files;
    accepted += digest(bytes);
  });
  EXPECT_GT(files, 1500);
  EXPECT_GT(accepted, 50);  // names cut alike, notes, unused parts
  EXPECT_LT(accepted, files / 2);
}

// The shared malformed files, each with what must happen to it: "reject", or anything but a crash.
TEST(OnnxCorruption, SharedMalformedFiles) {
  const MalformedFiles files("onnx_");
  if (files.empty()) GTEST_SKIP() << "skipped: shared data not found";
  for (const MalformedFile& file : files) {
    Result<graph::Model> model = formats::import_model(file.path.string());
    const bool accepted = model.ok() && operators::infer_types(model->graph).ok();
    EXPECT_FALSE(accepted && file.expected == "reject") << file.path;
    EXPECT_TRUE(!accepted || formats::onnx::export_bytes(*model).ok()) << file.path;
  }
  EXPECT_GT(files.size(), 25u);
}

}  // namespace
}  // namespace narrow
