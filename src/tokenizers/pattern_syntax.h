// Oniguruma's Ruby syntax of regular expressions, written as PCRE2 understands it.
#pragma once

#include <string>
#include <string_view>

#include "narrow/result.h"

namespace narrow::tokenizers {

// The same pattern for PCRE2 with PCRE2_UTF, PCRE2_UCP and PCRE2_MULTILINE, newline LF. Classes of characters (\s, \w, \p{L},
// [[:alpha:]], …) become the sets that Oniguruma with Unicode 16 has; nested classes and intersections, (?m), stacked
// quantifiers and flags inside alternatives mean what Ruby means. Errors: unsupported; corrupt (a class left open, nested
// too deeply). `where` names the pattern in the file.
Result<std::u32string> to_pcre2(std::u32string_view pattern, const std::string& where);

}  // namespace narrow::tokenizers
