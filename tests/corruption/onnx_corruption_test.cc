#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "formats/format.h"
#include "formats/onnx/onnx.h"
#include "operators/infer.h"
#include "support/onnx_builder.h"
#include "support/shared_data.h"

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

TEST(OnnxCorruption, EveryLengthGrownAndEveryByteLost) {
  const std::string whole = sample();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    digest(whole.substr(0, n) + whole.substr(n + 1));
    digest(whole.substr(0, n) + std::string(9, '\xFF') + whole.substr(n + 1));
    digest(whole.substr(0, n) + whole.substr(n / 2));
  }
}

// The shared malformed files, each with what must happen to it: "reject", or anything but a crash.
TEST(OnnxCorruption, SharedMalformedFiles) {
  const auto expectations = shared_data("malformed/EXPECT.tsv");
  const char* folder = std::getenv("NARROW_MALFORMED");  // where malformed.tar.zst was unpacked
  if (!expectations || folder == nullptr) GTEST_SKIP() << "skipped: shared data or NARROW_MALFORMED not found";
  std::ifstream table(*expectations);
  int files = 0;
  for (std::string line; std::getline(table, line);) {
    std::istringstream row(line);
    std::string name, size, expected;
    std::getline(row, name, '\t');
    std::getline(row, size, '\t');
    std::getline(row, expected, '\t');
    if (!name.starts_with("onnx_")) continue;
    ++files;
    Result<graph::Model> model = formats::import_model(std::string(folder) + "/" + name);
    const bool accepted = model.ok() && operators::infer_types(model->graph).ok();
    EXPECT_FALSE(accepted && expected == "reject") << name;
    EXPECT_TRUE(!accepted || formats::onnx::export_bytes(*model).ok()) << name;
  }
  EXPECT_GT(files, 25);
}

}  // namespace
}  // namespace narrow
