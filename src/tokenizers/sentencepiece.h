// SentencePiece's models: text is not cut into words; blanks are pieces' characters (U+2581). Their vocabularies come from
// tokenizer.model, from GGUF and from llama2.c's tokenizer.bin.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/charsmap.h"
#include "tokenizers/tokenizer.h"

namespace narrow::tokenizers {

struct SentencePieces {
  // Numbered as in sentencepiece_model.proto and in GGUF's token types.
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum class Algorithm { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };

  Algorithm algorithm = Algorithm::kBpe;
  std::vector<Piece> pieces;  // by id
  bool byte_fallback = false;
  Charsmap charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true, whitespace_as_suffix = false;
  std::string unknown_surface = " \u2047 ";  // what an unknown token is in text
  SpecialIds special;
};

// Errors: corrupt (no unknown piece, bytes that are missing, …); unsupported (word and character models).
Result<TokenizerParts> sentencepiece_parts(SentencePieces pieces, const std::string& where);
Result<std::shared_ptr<const Tokenizer>> make_sentencepiece(SentencePieces pieces, const std::string& where);

// A serialized sentencepiece ModelProto (tokenizer.model, spiece.model). Errors: corrupt.
Result<SentencePieces> parse_sentencepiece_model(std::span<const std::uint8_t> bytes, const std::string& where);

// llama2.c's tokenizer.bin: the longest token's size, then score, size and bytes of each token, blanks as they are.
// Errors: corrupt.
Result<SentencePieces> parse_llama2c_vocabulary(std::span<const std::uint8_t> bytes, const std::string& where);

}  // namespace narrow::tokenizers
