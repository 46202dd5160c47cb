// Checkpoints written and read back: one file, shards, and folders that lie.
#include "formats/safetensors/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "formats/safetensors/writer.h"
#include "support/shared_data.h"

namespace narrow::formats::safetensors {
namespace {

namespace fs = std::filesystem;

class SafetensorsFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "narrow-st-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(std::string_view name) const { return (folder_ / name).string(); }
  void put(std::string_view name, std::string_view text) const { std::ofstream(path(name), std::ios::binary) << text; }
  static std::string read(const std::string& p) {
    std::ostringstream text;
    text << std::ifstream(p, std::ios::binary).rdbuf();
    return text.str();
  }
  // One file of f32 tensors [4], each filled with its number.
  void put_file(std::string_view name, const std::vector<std::string>& tensors) const {
    std::vector<TensorSpec> specs;
    for (const std::string& t : tensors) specs.push_back({t, DType::kF32, {4}});
    auto writer = FileWriter::create(path(name), specs);
    ASSERT_TRUE(writer.ok());
    for (std::size_t i = 0; i < tensors.size(); ++i) ASSERT_TRUE(writer->write(i, Tensor::from<float>({4}, {float(i), float(i), float(i), float(i)})).ok());
    ASSERT_TRUE(writer->finish().ok());
  }
  void put_index(const std::string& map) const { put(kIndexName, "{\"metadata\":{},\"weight_map\":" + map + "}"); }
  std::size_t files() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }

  fs::path folder_;
};

Tensor random_tensor(DType dtype, Shape shape, unsigned seed) {
  Tensor tensor = *Tensor::create(dtype, std::move(shape));
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < tensor.bytes(); ++i) static_cast<std::uint8_t*>(tensor.mutable_raw())[i] = static_cast<std::uint8_t>(random());
  return tensor;
}

TEST_F(SafetensorsFolder, WhatIsWrittenInPartsAndOutOfOrderReadsBack) {
  const std::vector<Tensor> tensors = {random_tensor(DType::kU8, {7}, 1), random_tensor(DType::kF16, {5, 3}, 2), random_tensor(DType::kS64, {2}, 3),
                                       random_tensor(DType::kBF16, {300, 1000}, 4), random_tensor(DType::kF32, {}, 5), random_tensor(DType::kF32, {0, 4}, 6)};
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < tensors.size(); ++i) specs.push_back({"t" + std::to_string(i), tensors[i].dtype(), tensors[i].shape()});
  auto writer = FileWriter::create(path("model.safetensors"), specs);
  ASSERT_TRUE(writer.ok()) << writer.error().to_string();
  for (const std::size_t i : {4, 0, 2, 5, 1}) ASSERT_TRUE(writer->write(i, tensors[i]).ok());
  EXPECT_FALSE(writer->write(1, tensors[0]).ok());
  const auto bytes = tensors[3].byte_span();
  EXPECT_FALSE(writer->write(3, 1, bytes).ok());  // one byte too far
  for (std::size_t at = 0; at < bytes.size(); at += 70000) ASSERT_TRUE(writer->write(3, at, bytes.subspan(at, std::min<std::size_t>(70000, bytes.size() - at))).ok());
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(fs::file_size(path("model.safetensors")), writer->bytes());

  for (const std::string& from : {folder_.string(), path("model.safetensors")}) {
    const auto checkpoint = Checkpoint::open(from);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
    EXPECT_EQ(checkpoint->metadata().at("format"), "pt");
    ASSERT_EQ(checkpoint->entries().size(), tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto tensor = checkpoint->tensor(specs[i].name);
      ASSERT_TRUE(tensor.ok()) << tensor.error().to_string();
      EXPECT_EQ(tensor->dtype(), tensors[i].dtype());
      EXPECT_EQ(tensor->shape(), tensors[i].shape());
      EXPECT_TRUE(std::ranges::equal(tensor->byte_span(), tensors[i].byte_span())) << i;
      checkpoint->release(specs[i].name);
      EXPECT_TRUE(std::ranges::equal(tensor->byte_span(), tensors[i].byte_span())) << i << " after release";
    }
  }
}

TEST_F(SafetensorsFolder, ThreadsMayWriteTensorsSideBySide) {
  constexpr int kTensors = 16;
  std::vector<TensorSpec> specs;
  std::vector<Tensor> tensors;
  for (int i = 0; i < kTensors; ++i) {
    tensors.push_back(random_tensor(i % 2 ? DType::kF16 : DType::kS32, {100 + i, 501}, i));
    specs.push_back({std::to_string(i), tensors.back().dtype(), tensors.back().shape()});
  }
  auto writer = FileWriter::create(path("model.safetensors"), specs);
  ASSERT_TRUE(writer.ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < kTensors; i += 4) EXPECT_TRUE(writer->write(i, tensors[i]).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer->finish().ok());
  const auto checkpoint = Checkpoint::open(folder_.string());
  ASSERT_TRUE(checkpoint.ok());
  for (int i = 0; i < kTensors; ++i) EXPECT_TRUE(std::ranges::equal(checkpoint->tensor(std::to_string(i))->byte_span(), tensors[i].byte_span()));
}

TEST_F(SafetensorsFolder, AnUnfinishedFileIsNotThere) {
  {
    auto writer = FileWriter::create(path("model.safetensors"), {{"a", DType::kF32, {4}}, {"b", DType::kF32, {1}}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->write(0, random_tensor(DType::kF32, {4}, 1)).ok());
    EXPECT_FALSE(writer->finish().ok());  // b never came
  }
  EXPECT_EQ(files(), 0u);
}

TEST_F(SafetensorsFolder, ShardsAndIndexReadBackAsOne) {
  std::vector<TensorSpec> tensors;
  for (int i = 0; i < 10; ++i) tensors.push_back({"w" + std::to_string(i), DType::kF32, {i == 4 ? 100 : 10}});
  const auto shards = plan_shards(tensors, 90);  // bytes: 40 a tensor, one of 400
  ASSERT_EQ(shards.size(), 6u);
  EXPECT_EQ(shards[2].size(), 1u);  // w4 alone, larger than the limit
  std::vector<Shard> written;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string name = shard_name(s, shards.size());
    EXPECT_EQ(name, "model-0000" + std::to_string(s + 1) + "-of-00006.safetensors");
    auto writer = FileWriter::create(path(name), shards[s]);
    ASSERT_TRUE(writer.ok());
    for (std::size_t i = 0; i < shards[s].size(); ++i) ASSERT_TRUE(writer->write(i, random_tensor(DType::kF32, shards[s][i].shape, shards[s][i].name[1])).ok());
    ASSERT_TRUE(writer->finish().ok());
    written.push_back({name, shards[s]});
  }
  ASSERT_TRUE(write_index(folder_.string(), written).ok());
  EXPECT_NE(read(path(kIndexName)).find("\"total_size\": 760"), std::string::npos);
  for (const std::string& from : {folder_.string(), path(kIndexName)}) {
    const auto checkpoint = Checkpoint::open(from);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
    EXPECT_EQ(checkpoint->paths().size(), 6u);
    for (const TensorSpec& t : tensors) {
      EXPECT_TRUE(std::ranges::equal(checkpoint->tensor(t.name)->byte_span(), random_tensor(DType::kF32, t.shape, t.name[1]).byte_span())) << t.name;
    }
  }
}

TEST_F(SafetensorsFolder, OneTensorOfAnOddHeaderIsCopiedToAnAllowedAddress) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";  // 54 bytes: the data starts at 62
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  const float values[] = {1.5f, -2.0f};
  file += header + std::string(reinterpret_cast<const char*>(values), 8);
  put("model.safetensors", file);
  const auto checkpoint = Checkpoint::open(folder_.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
  ASSERT_NE((8 + header.size()) % 4, 0u);
  const Tensor tensor = *checkpoint->tensor("a");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 4, 0u);
  EXPECT_EQ(tensor.data<float>()[0], 1.5f);
  EXPECT_EQ(tensor.data<float>()[1], -2.0f);
}

TEST_F(SafetensorsFolder, ABoolOfTwoAndAnUnknownNameAreErrors) {
  auto writer = FileWriter::create(path("model.safetensors"), {{"flag", DType::kBool, {2}}});
  const std::uint8_t bytes[] = {1, 2};
  ASSERT_TRUE(writer->write(0, 0, bytes).ok());
  ASSERT_TRUE(writer->finish().ok());
  const auto checkpoint = Checkpoint::open(folder_.string());
  EXPECT_EQ(checkpoint->tensor("flag").error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(checkpoint->tensor("flat").error().code(), ErrorCode::kNotFound);
  EXPECT_NE(checkpoint->tensor("flat").error().message().find("did you mean 'flag'"), std::string::npos);
}

TEST_F(SafetensorsFolder, AnIndexThatLiesIsRefused) {
  put_file("s.safetensors", {"a"});
  fs::create_directory(folder_ / "sub");
  fs::rename(path("s.safetensors"), folder_ / "sub" / "s.safetensors");
  put_file("one.safetensors", {"a", "b"});
  fs::create_symlink(fs::temp_directory_path() / "elsewhere.safetensors", folder_ / "dangling.safetensors");
  struct Case {
    const char* map;
    const char* says;
  };
  for (const Case& c : {Case{R"({"a":"../one.safetensors"})", "no name of a shard"}, Case{R"({"a":"/etc/passwd"})", "no name of a shard"}, Case{R"({"a":"sub/s.safetensors"})", "no name of a shard"},
                        Case{R"({"a":".."})", "no name of a shard"}, Case{R"({"a":""})", "no name of a shard"}, Case{R"({"a":"one\u0000.safetensors"})", "no name of a shard"},
                        Case{R"({"a":"two.safetensors"})", "not there"}, Case{R"({"a":"dangling.safetensors"})", "not there"}, Case{R"({"c":"one.safetensors"})", "lacks the tensor 'c'"},
                        Case{R"({"a":7})", "expected a string"}, Case{"{}", "empty"}, Case{"[]", "expected an object"}}) {
    put_index(c.map);
    const auto checkpoint = Checkpoint::open(folder_.string());
    ASSERT_FALSE(checkpoint.ok()) << c.map;
    EXPECT_NE(checkpoint.error().to_string().find(c.says), std::string::npos)
        << c.map << "\n" << checkpoint.error().to_string();
  }
}

TEST_F(SafetensorsFolder, LinksStayInsideTheFolderOrTheHubsBlobs) {
  put_file("real.safetensors", {"a"});
  fs::create_directories(folder_ / "inside");
  fs::create_directories(folder_ / "snapshots" / "abc");
  fs::create_directories(folder_ / "blobs");
  fs::copy_file(path("real.safetensors"), folder_ / "blobs" / "0123");
  const auto opened_in = [&](const fs::path& folder) {
    std::ofstream(folder / kIndexName) << R"({"weight_map":{"a":"link.safetensors"}})";
    return Checkpoint::open(folder.string());
  };
  fs::create_symlink("../real.safetensors", folder_ / "inside" / "link.safetensors");
  EXPECT_FALSE(opened_in(folder_ / "inside").ok());
  fs::create_symlink("../../blobs/0123", folder_ / "snapshots" / "abc" / "link.safetensors");
  EXPECT_TRUE(opened_in(folder_ / "snapshots" / "abc").ok());
  fs::create_symlink("real.safetensors", folder_ / "link.safetensors");
  EXPECT_TRUE(opened_in(folder_).ok());
}

TEST_F(SafetensorsFolder, OnlyTheShardThatTheIndexNamesCounts) {
  put_file("one.safetensors", {"x", "a"});  // a is 1 here
  put_file("two.safetensors", {"a", "y"});  // and 0 here
  put_index(R"({"a":"two.safetensors","x":"one.safetensors"})");
  const auto checkpoint = Checkpoint::open(folder_.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
  EXPECT_EQ(checkpoint->entries().size(), 2u);
  EXPECT_EQ(checkpoint->tensor("a")->data<float>()[0], 0.0f);
  EXPECT_EQ(checkpoint->find("y"), nullptr);
}

TEST_F(SafetensorsFolder, AFolderOfAPickleSaysHowToConvertIt) {
  put("pytorch_model.bin", "PK");
  const auto checkpoint = Checkpoint::open(folder_.string());
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_NE(checkpoint.error().hint().find("save_pretrained"), std::string::npos);
}

TEST(SafetensorsShared, ReadsARealModel) {
  const auto folder = tests::shared_data("llm/llama7m");
  if (!folder) GTEST_SKIP() << "skipped: shared data not found";
  const auto checkpoint = Checkpoint::open(folder->string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
  const Entry* entry = checkpoint->find("model.layers.0.self_attn.q_proj.weight");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->tensor.shape, (Shape{256, 256}));
  double sum = 0;
  for (const float value : checkpoint->tensor(entry->tensor.name)->to_float()) sum += std::abs(value);
  EXPECT_GT(sum, 100);
}

}  // namespace
}  // namespace narrow::formats::safetensors
