// SentencePiece's precompiled normalization: a double-array trie (darts-clone) from sequences of bytes to what replaces them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::tokenizers {

class Charsmap {
 public:
  struct Match {
    std::size_t length = 0;        // in bytes of the text; 0: none
    std::string_view replacement;  // UTF-8, perhaps malformed
  };

  Charsmap() = default;  // replaces nothing
  // `bytes`: the size of the trie (4 bytes, little endian), the trie, the replacements, each ended by a zero byte.
  // Errors: corrupt.
  static Result<Charsmap> parse(std::string_view bytes, const std::string& where);

  bool empty() const { return units_.empty(); }
  // The entries that `text` begins with: the shortest, the longest.
  Match shortest(std::string_view text) const { return find(text, true); }
  Match longest(std::string_view text) const { return find(text, false); }

 private:
  Match find(std::string_view text, bool first) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;  // ends with a zero byte
};

}  // namespace narrow::tokenizers
