// Regular expressions as tokenizer files write them (Oniguruma's Ruby syntax), matched by PCRE2.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::tokenizers {

class Pattern {
 public:
  // Errors: corrupt, with the place in the pattern; `where` names it in the file.
  static Result<Pattern> compile(std::string_view pattern, const std::string& where);
  // Matches these characters themselves; an empty text matches nowhere.
  static Pattern literal(std::string_view text);

  struct Match {
    std::size_t begin = 0, end = 0;  // characters
  };
  // The matches from left to right; an empty one never follows another at once. Errors: resource_exhausted when the search
  // takes too many steps.
  Result<std::vector<Match>> matches(std::u32string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;  // null: literal
  std::u32string literal_;
};

}  // namespace narrow::tokenizers
