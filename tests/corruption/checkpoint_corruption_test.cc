// Checkpoints cut at every byte, changed at every byte, and the shared malformed ones: an error, or tensors that can be read.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "formats/gguf/gguf.h"
#include "formats/llama2c/llama2c.h"
#include "formats/safetensors/checkpoint.h"
#include "support/malformed_files.h"

namespace narrow {
namespace {

using namespace narrow::tests;

// Touches every byte.
double sum_of(const Tensor& tensor) {
  double sum = 0;
  for (const std::uint8_t byte : tensor.byte_span()) sum += byte;
  return sum;
}

base::ByteSpan as_bytes(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

template <typename T>
bool accepted(const Result<T>& result) {
  EXPECT_TRUE(result.ok() || !result.error().to_string().empty());
  return result.ok();
}

bool digest_safetensors(const std::string& path) {
  const auto checkpoint = formats::safetensors::Checkpoint::open(path);
  if (!accepted(checkpoint)) return false;
  for (const auto& entry : checkpoint->entries()) {
    const auto tensor = checkpoint->tensor(entry.tensor.name);
    if (!accepted(tensor)) return false;
    EXPECT_EQ(tensor->bytes(), entry.bytes);
    EXPECT_GE(sum_of(*tensor), 0);
  }
  return true;
}

bool digest_gguf(const Result<formats::gguf::File>& file) {
  if (!accepted(file)) return false;
  for (const auto& entry : file->entries()) {
    const auto tensor = file->tensor(entry.name);
    EXPECT_TRUE(!accepted(tensor) || sum_of(*tensor) >= 0);
  }
  return true;
}

bool digest_llama2c(const std::string& path) {
  const auto checkpoint = formats::llama2c::Checkpoint::open(path);
  if (!accepted(checkpoint)) return false;
  EXPECT_FALSE(checkpoint->config_json().empty());
  for (const std::string& name : checkpoint->names()) {
    const auto tensor = checkpoint->tensor(name);
    EXPECT_TRUE(!accepted(tensor) || sum_of(*tensor) >= 0);
  }
  return true;
}

template <typename Digest>
void run_shared(std::string_view prefix, std::size_t at_least, Digest digest) {
  const MalformedFiles files(prefix);
  if (files.empty()) GTEST_SKIP() << "skipped: shared data not found";
  for (const MalformedFile& file : files) {
    const auto start = std::chrono::steady_clock::now();
    const bool taken = digest(file.path.string());
    EXPECT_FALSE(taken && file.expected == "reject") << file.path;
    EXPECT_FALSE(!taken && file.expected == "accept") << file.path;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << file.path;
  }
  EXPECT_GE(files.size(), at_least);
}

TEST(CheckpointCorruption, SharedSafetensors) { run_shared("st_", 25, digest_safetensors); }
TEST(CheckpointCorruption, SharedGguf) { run_shared("gguf_", 25, [](const std::string& path) { return digest_gguf(formats::gguf::File::open(path)); }); }
TEST(CheckpointCorruption, SharedLlama2c) { run_shared("llama2c_", 15, digest_llama2c); }

std::string sample_safetensors() {
  const std::vector<formats::TensorSpec> tensors = {{"a", DType::kF32, {2, 3}}, {"b", DType::kBool, {4}}, {"c", DType::kF8E4M3FN, {3}}};
  const auto layout = formats::safetensors::make_layout(tensors, {{"format", "pt"}});
  std::string file = layout->header;
  file.resize(layout->file_bytes, '\1');
  return file;
}

std::string sample_gguf() {
  wire::GgufMetadata metadata;
  metadata.set("general.architecture", wire::GgufValue::text("llama"));
  metadata.set("tokens", wire::GgufValue::texts({"a", "bc"}));
  metadata.set("scores", wire::GgufValue::f32s(std::vector<float>{1, 2}));
  metadata.set("flag", wire::GgufValue::flag(true));
  metadata.set("count", wire::GgufValue::u64(3));
  const std::vector<wire::GgufTensor> tensors = {{"q", {32, 2}, 2, 0}, {"k", {256}, 12, 64}, {"f", {3}, 0, 224}};
  std::string file = *wire::gguf_head_bytes(metadata, tensors);
  file.resize(file.size() + 236, '\2');
  return file;
}

// Through a file, as users' bytes come.
class SafetensorsBytes {
 public:
  SafetensorsBytes() : path_(std::filesystem::temp_directory_path() / ("narrow_cut_" + std::to_string(::getpid()) + ".safetensors")) {}
  ~SafetensorsBytes() { std::filesystem::remove(path_); }
  bool operator()(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return digest_safetensors(path_.string());
  }

 private:
  std::filesystem::path path_;
};

template <typename Digest>
void cut_and_change(const std::string& whole, Digest digest) {
  ASSERT_TRUE(digest(whole));
  ASSERT_LT(whole.size(), 4096u);
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(digest(whole.substr(0, n))) << n;
  std::size_t taken = 0;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      taken += digest(changed);
    }
  }
  EXPECT_GT(taken, 20u);                // values and names may change
  EXPECT_LT(taken, whole.size() * 3);   // structure may not
}

TEST(CheckpointCorruption, SafetensorsCutAndChangedAtEveryByte) { cut_and_change(sample_safetensors(), SafetensorsBytes()); }
TEST(CheckpointCorruption, GgufCutAndChangedAtEveryByte) {
  cut_and_change(sample_gguf(), [](const std::string& bytes) { return digest_gguf(formats::gguf::File::read(nullptr, as_bytes(bytes), "x.gguf")); });
}

}  // namespace
}  // namespace narrow
