// Character properties as sorted tables, written by tools/make_unicode_tables.py; asked through unicode.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace narrow::tokenizers::tables {

struct Range {
  char32_t first, last;
};

struct ClassRange {
  char32_t first, last;
  std::uint8_t combining_class;
};

struct Decomposition {
  char32_t character;
  std::uint16_t begin;  // in kDecomposed
  std::uint16_t size;
};

// Every `step`-th character of first..last has its lower case `distance` away.
struct LowerRun {
  char32_t first, last;
  std::int32_t step, distance;
};

extern const Range kOther[], kMarkNonspacing[], kPunctuation[], kWord[];
extern const ClassRange kCombiningClass[];
extern const Decomposition kDecompositions[];
extern const char32_t kDecomposed[];
extern const LowerRun kLower[];
extern const std::size_t kOtherCount, kMarkNonspacingCount, kPunctuationCount, kWordCount, kCombiningClassCount,
    kDecompositionsCount, kLowerCount;

}  // namespace narrow::tokenizers::tables
