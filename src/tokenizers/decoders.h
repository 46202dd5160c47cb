// From tokens back to text, as the "decoder" of tokenizer.json says.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/parts.h"

namespace narrow::tokenizers {

// A decoder changes tokens in place; at the end they are put together as they are.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual Status apply(std::vector<std::string>& tokens) const = 0;
};

using DecoderKind = PartKind<std::unique_ptr<const Decoder>>;
std::span<const DecoderKind> decoders();  // the table: decoders.cc

// Null when the file has none: tokens then stand with blanks between them. Errors: corrupt; unsupported.
Result<std::unique_ptr<const Decoder>> make_decoder(const Fields& file);

// For vocabularies in other files than tokenizer.json.
std::unique_ptr<const Decoder> byte_level_decoder();
std::unique_ptr<const Decoder> wordpiece_decoder();

// The byte of "<0x41>".
std::optional<char> byte_of_token(std::string_view token);

}  // namespace narrow::tokenizers
