// A Hugging Face folder's tokenizer as GGUF's "tokenizer.ggml.*" keys.
#pragma once

#include <string>

#include "narrow/result.h"
#include "wire/gguf.h"

namespace narrow::language {

// From tokenizer.model if there is one (SentencePiece), else from tokenizer.json: a BPE over bytes ("gpt2"), or one over
// characters that falls back to bytes ("llama", its merges as scores). A folder, or a file of weights, without either gives
// "no_vocab": the model runs on token ids alone. Ids of special tokens come from config.json (`config`) and tokenizer_config.json.
// Errors: corrupt, unsupported (other kinds of tokenizer).
Status set_gguf_vocabulary(const std::string& folder, const std::string& config, std::int64_t vocabulary, wire::GgufMetadata& metadata);

}  // namespace narrow::language
