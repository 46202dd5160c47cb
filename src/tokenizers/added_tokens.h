// Tokens that are found in the text itself, before it is split into words: [CLS], [MASK], and what users add.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/parts.h"
#include "tokenizers/piece_table.h"

namespace narrow::tokenizers {

struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool single_word = false;            // only where no letter or digit stands beside it
  bool lstrip = false, rstrip = false; // takes the white space on that side with it
  bool special = false;                // left out of text that is read by people
  bool normalized = true;              // looked for in the normalized text
};

// Finds added tokens of one sort (normalized or not).
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Part {
    std::size_t begin = 0, end = 0;    // characters
    std::optional<std::int64_t> id;    // of an added token; nothing: text between them
  };
  // Covers the text from left to right, the longest token where several begin. Linear in the text, times the longest token.
  std::vector<Part> split(std::u32string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  PieceTable table_;                   // content → index into tokens_
  std::string first_bytes_;            // sorted
};

// The added tokens of a tokenizer file. As in the `tokenizers` library, those that the model's vocabulary holds have its
// ids and the others are numbered after it, whatever ids the file gives them. Errors: corrupt.
Result<std::vector<AddedToken>> parse_added_tokens(const Fields& file, const Model& model);

}  // namespace narrow::tokenizers
