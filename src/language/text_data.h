// Text for language models: read, turned into one stream of tokens, and cut into sequences.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/tokenizer.h"

namespace narrow::language {

// The tokens of a file, by its extension: .npy of whole numbers, .bin of u16 (token ids); .jsonl, the "text" of each line,
// one text after another; anything else is text. `tokenizer` may be null for files of tokens. A text that the tokenizer
// begins with a token of its own begins with it once. Errors: not_found, corrupt (naming the line), invalid_argument.
Result<std::vector<std::int64_t>> read_tokens(const std::string& path, const tokenizers::Tokenizer* tokenizer);

// `count` stretches of `length` tokens, each from a place of its own drawn with `seed`, in the order of the text.
// Errors: invalid_argument when the text is shorter than one stretch.
Result<std::vector<std::vector<std::int64_t>>> draw_sequences(const std::vector<std::int64_t>& tokens, std::uint64_t count, std::int64_t length, std::uint64_t seed);

// Gives each sequence the tokens that the tokenizer puts around a text ([CLS] … [SEP]), in place of its first and last.
Status frame_sequences(const tokenizers::Tokenizer& tokenizer, std::vector<std::vector<std::int64_t>>& sequences);

}  // namespace narrow::language
