// Checkpoints of llama2.c (karpathy/llama2.c: export.py): a header of integers, then the weights without names. Versions
// 0 (no magic, f32), 1 ("ak42", f32) and 2 (int8 in groups) are read into tensors with Hugging Face's Llama names.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "narrow/result.h"
#include "tensor/tensor.h"

namespace narrow::formats::llama2c {

struct Config {
  std::int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, vocabulary = 0, positions = 0;
  bool tied = false;  // the embedding is the classifier too
  int version = 0;
  std::int64_t group = 0;  // version 2: values that share a scale
};

class Checkpoint {
 public:
  // Errors: not_found, io, corrupt (dimensions that make no model, or a file that is not exactly as long as they say).
  static Result<Checkpoint> open(const std::string& path);
  static Result<Checkpoint> read(std::shared_ptr<const void> owner, base::ByteSpan bytes, const std::string& where);

  const Config& config() const { return config_; }
  std::string config_json() const;  // the config.json of the same model
  const std::vector<std::string>& names() const { return names_; }

  bool contains(std::string_view name) const { return by_name_.contains(std::string(name)); }
  // f32. A view of the file, but for query and key projections, whose rows are put into Hugging Face's order, and for
  // version 2. Errors: not_found.
  Result<Tensor> tensor(std::string_view name) const;

 private:
  struct Piece {
    std::uint64_t offset = 0;
    Shape shape;
    std::int64_t head = 0;  // rows a head when they lie interleaved
    bool quantized = false;
  };
  void add(std::string name, Piece piece);

  std::shared_ptr<const void> owner_;
  base::ByteSpan bytes_;
  std::string where_;
  Config config_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Piece> by_name_;
};

}  // namespace narrow::formats::llama2c
