#include "formats/onnx/external_data.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "formats/onnx/onnx.h"
#include "support/onnx_builder.h"

namespace narrow::formats::onnx {
namespace {

namespace fs = std::filesystem;
using namespace narrow::tests;

// model/ holds weights.bin (16 bytes: 1.0 2.0 3.0 4.0); outside/ lies beside it.
class ExternalDataTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("narrow_external_" + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "model" / "sub");
    fs::create_directories(root_ / "outside");
    const float values[4] = {1, 2, 3, 4};
    for (const char* place : {"model/weights.bin", "model/sub/weights.bin", "outside/weights.bin"}) {
      std::ofstream(root_ / place, std::ios::binary).write(reinterpret_cast<const char*>(values), sizeof values);
    }
  }
  void TearDown() override { fs::remove_all(root_); }

  // A model whose one weight, f32[2], lies where the entries say.
  Result<graph::Model> import(const std::vector<std::pair<std::string, std::string>>& entries, std::vector<std::string> roots = {}) {
    ProtoMessage weight = tensor_header("w", kFloat, {2});
    for (const auto& [key, value] : entries) {
      ProtoMessage entry;
      entry.add_string(1, key);
      entry.add_string(2, value);
      weight.add_message(13, entry);
    }
    weight.add_int(14, 1);
    const std::string bytes = make_model({{node("Add", {"x", "w"}, {"y"})}, {weight}, {value_info("x", kFloat, {2})}, {value_info("y", kFloat, {2})}});
    const std::string path = (root_ / "model" / "m.onnx").string();
    std::ofstream(path, std::ios::binary) << bytes;
    return import_file(path, {.allowed_roots = std::move(roots)});
  }

  void expect_values(const Result<graph::Model>& model, const std::vector<float>& values) {
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    EXPECT_EQ(model->graph.constant(model->graph.find_value("w"))->to_float(), values);
  }

  void expect_error(const Result<graph::Model>& model, ErrorCode code, const std::string& part) {
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.error().code(), code) << model.error().to_string();
    EXPECT_NE(model.error().to_string().find(part), std::string::npos) << model.error().to_string();
  }

  fs::path root_;
};

TEST_F(ExternalDataTest, ReadsOffsetsAndLengths) {
  expect_values(import({{"location", "weights.bin"}, {"offset", "0"}, {"length", "8"}}), {1, 2});
  expect_values(import({{"location", "weights.bin"}, {"offset", "8"}, {"length", "8"}}), {3, 4});
  expect_values(import({{"location", "weights.bin"}, {"offset", "4"}}), {2, 3});
  expect_values(import({{"location", "sub/weights.bin"}}), {1, 2});
  expect_values(import({{"location", "weights.bin"}, {"checksum", "00"}, {"unknown", "x"}}), {1, 2});
}

TEST_F(ExternalDataTest, RefusesPathsThatLeaveTheFolder) {
  for (const char* location : {"../outside/weights.bin", "sub/../../outside/weights.bin", "..", "a/..", "..\\outside\\weights.bin"}) {
    expect_error(import({{"location", location}}), ErrorCode::kCorrupt, "leaves the model's folder");
  }
  for (const std::string& location : {(root_ / "outside/weights.bin").string(), std::string("C:\\weights.bin"), std::string("\\\\host\\share")}) {
    expect_error(import({{"location", location}}), ErrorCode::kCorrupt, "is absolute");
  }
  expect_error(import({{"location", std::string("a\0b", 3)}}), ErrorCode::kCorrupt, "zero byte");
  expect_error(import({{"location", ""}}), ErrorCode::kCorrupt, "no location");
}

TEST_F(ExternalDataTest, FollowsLinksOnlyIntoAllowedRoots) {
  fs::create_symlink(root_ / "outside/weights.bin", root_ / "model/link.bin");
  fs::create_directory_symlink(root_ / "outside", root_ / "model/folder");
  fs::create_symlink(root_ / "model/weights.bin", root_ / "model/inner.bin");
  const std::string outside = (root_ / "outside").string();
  expect_values(import({{"location", "inner.bin"}}), {1, 2});
  expect_error(import({{"location", "link.bin"}}), ErrorCode::kCorrupt, "outside the model's folder");
  expect_error(import({{"location", "folder/weights.bin"}}), ErrorCode::kCorrupt, "outside the model's folder");
  expect_values(import({{"location", "link.bin"}}, {outside}), {1, 2});
  expect_values(import({{"location", "folder/weights.bin"}}, {outside + "/"}), {1, 2});
  // A root whose name merely starts alike is another folder.
  expect_error(import({{"location", "link.bin"}}, {(root_ / "out").string()}), ErrorCode::kCorrupt, "outside the model's folder");
}

TEST_F(ExternalDataTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo((root_ / "model/fifo").c_str(), 0600), 0);
  expect_error(import({{"location", "fifo"}}), ErrorCode::kIo, "not a regular file");  // and does not hang
  expect_error(import({{"location", "sub"}}), ErrorCode::kIo, "directory");
  fs::create_symlink("/dev/zero", root_ / "model/zero");
  expect_error(import({{"location", "zero"}}, {"/dev"}), ErrorCode::kIo, "not a regular file");
  expect_error(import({{"location", "missing.bin"}}), ErrorCode::kNotFound, "missing.bin");
  expect_error(import({{"location", "weights.bin/x"}}), ErrorCode::kNotFound, "weights.bin/x");
}

TEST_F(ExternalDataTest, ChecksNumbersAgainstTheFile) {
  for (const char* offset : {"-4", "1e1", " 4", "4 ", "0x4", "", "99999999999999999999"}) {
    expect_error(import({{"location", "weights.bin"}, {"offset", offset}}), ErrorCode::kCorrupt, "offset");
  }
  expect_error(import({{"location", "weights.bin"}, {"offset", "12"}}), ErrorCode::kCorrupt, "which has 16");
  expect_error(import({{"location", "weights.bin"}, {"offset", "18446744073709551612"}}), ErrorCode::kCorrupt, "overflow");
  expect_error(import({{"location", "weights.bin"}, {"length", "4"}}), ErrorCode::kCorrupt, "needs 8");
  expect_error(import({{"location", "weights.bin"}, {"length", "16"}}), ErrorCode::kCorrupt, "needs 8");
}

TEST(ExternalData, BytesFromMemoryHaveNoFolder) {
  ExternalData external("", {});
  const auto file = external.open("weights.bin", "w");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace narrow::formats::onnx
