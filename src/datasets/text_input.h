// Turns texts into the inputs of a transformer: token ids, attention mask, token types, positions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/dataset.h"
#include "narrow/result.h"
#include "tensor/tensor.h"
#include "tokenizers/tokenizer.h"

namespace narrow::datasets {

// True when one of the inputs is named and typed as token ids are.
bool reads_tokens(const std::vector<InputSpec>& inputs);

class TextInput {
 public:
  // Inputs are told apart by name (input_ids, attention_mask, token_type_ids, position_ids and what other exporters call
  // them) and are integers of shape [batch, sequence]. Texts keep their own length, cut where the tokenizer cuts or at
  // `max_length`; a model with a fixed sequence length gets them padded to it. Errors: unsupported, naming the input that
  // text cannot feed.
  static Result<TextInput> create(const std::vector<InputSpec>& inputs, std::shared_ptr<const tokenizers::Tokenizer> tokenizer,
                                  std::size_t max_length);

  // Batch 1. Errors: resource_exhausted.
  Result<std::vector<std::pair<std::string, Tensor>>> convert(std::string_view text) const;

 private:
  enum class Role { kIds, kMask, kTypes, kPositions };
  struct Row {
    std::string name;
    Role role;
    DType dtype;
  };
  static Result<Row> row_of(const InputSpec& input);

  std::vector<Row> rows_;
  std::shared_ptr<const tokenizers::Tokenizer> tokenizer_;
  std::size_t max_length_ = 0;
  std::size_t fixed_length_ = 0;  // 0: any

  friend bool reads_tokens(const std::vector<InputSpec>& inputs);
};

}  // namespace narrow::datasets
