// The vocabularies that GGUF files carry under tokenizer.ggml.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/tokenizer.h"
#include "wire/gguf.h"

namespace narrow::tokenizers {

// tokenizer.ggml.model: "llama" and "t5" (SentencePiece), "gpt2" (byte-level BPE with the patterns of tokenizer.ggml.pre),
// "bert" (WordPiece). As llama.cpp tokenizes plain text: control tokens are not looked for in it, a user's are.
// Errors: corrupt; unsupported, naming the models and patterns that are known.
Result<std::shared_ptr<const Tokenizer>> make_gguf_tokenizer(const wire::GgufMetadata& metadata);

// A value of tokenizer.ggml.pre: the text is cut at each pattern's matches, one pattern after another.
struct GgufPreTokenizer {
  std::string_view name;
  std::vector<std::string_view> patterns;
  bool ignore_merges = false, add_bos = false;
};

std::span<const GgufPreTokenizer> gguf_pre_tokenizers();  // the table: gguf_pre_tokenizers.cc

}  // namespace narrow::tokenizers
