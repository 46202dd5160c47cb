// Text of tokens that come one by one, as they are generated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "narrow/result.h"

namespace narrow::tokenizers {

class Tokenizer;

// The pieces of text that push() gives, and finish() at the end, are together what decode() makes of all tokens. A character
// whose bytes are spread over several tokens comes whole, with the last of them.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true) : tokenizer_(tokenizer), skip_special_(skip_special) {}

  Result<std::string> push(std::int64_t id);  // the text that is new; often empty
  Result<std::string> finish();               // what was kept back

 private:
  Result<std::string> advance(bool finished);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<std::int64_t> ids_;  // since a place where text begins anew
  std::size_t context_ = 0;        // of them, those whose text was given whole before
  std::size_t given_ = 0;          // bytes of their text that were given
};

}  // namespace narrow::tokenizers
