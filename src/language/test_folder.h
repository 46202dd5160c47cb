// Small models as folders on disk, for tests that quantize from file to file.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "formats/safetensors/writer.h"
#include "language/checkpoint.h"
#include "language/test_models.h"

namespace narrow::language::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "narrow_language_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The model as a Hugging Face folder, opened.
inline Checkpoint save(const SmallModel& model, const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json") << model.config;
  std::vector<formats::TensorSpec> specs;
  for (const auto& [name, tensor] : model.weights->tensors()) specs.push_back({name, tensor.dtype(), tensor.shape()});
  auto writer = formats::safetensors::FileWriter::create(folder + "/model.safetensors", specs);
  EXPECT_TRUE(writer.ok());
  std::size_t i = 0;
  for (const auto& [name, tensor] : model.weights->tensors()) EXPECT_TRUE(writer->write(i++, tensor));
  EXPECT_TRUE(writer->finish());
  auto opened = open_checkpoint(folder);
  EXPECT_TRUE(opened.ok()) << opened.error().to_string();
  return *std::move(opened);
}

inline std::vector<std::vector<std::int64_t>> random_sequences(std::int64_t vocabulary, std::size_t count, std::size_t length) {
  std::mt19937 random(5);
  std::uniform_int_distribution<std::int64_t> token(0, vocabulary - 1);
  std::vector<std::vector<std::int64_t>> sequences(count, std::vector<std::int64_t>(length));
  for (auto& sequence : sequences) {
    for (std::int64_t& t : sequence) t = token(random);
  }
  return sequences;
}

}  // namespace narrow::language::testing
