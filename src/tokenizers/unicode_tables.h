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

struct ScriptRange {
  char32_t first, last;
  std::uint8_t script;
};

struct Decomposition {
  char32_t character;
  std::uint16_t begin;  // in the table of what they decompose to
  std::uint16_t size;
};

struct Composition {
  char32_t first, second, composed;
};

struct CategoryRange {
  char32_t first, last;
  char category[3];  // "Lu"
};

// Every `step`-th character of first..last has its lower case `distance` away.
struct LowerRun {
  char32_t first, last;
  std::int32_t step, distance;
};

extern const Range kOther[], kMark[], kMarkNonspacing[], kPunctuation[], kNumber[], kWord[];
extern const ClassRange kCombiningClass[];
extern const Decomposition kDecompositions[], kCompatibilityDecompositions[];
extern const char32_t kDecomposed[], kCompatibilityDecomposed[];
extern const Composition kCompositions[];
extern const CategoryRange kLaterCategories[];  // what PCRE2 does not know yet
extern const LowerRun kLower[];
extern const ScriptRange kScripts[];
extern const std::size_t kOtherCount, kMarkCount, kMarkNonspacingCount, kPunctuationCount, kNumberCount, kWordCount,
    kCombiningClassCount, kDecompositionsCount, kCompatibilityDecompositionsCount, kCompositionsCount,
    kLaterCategoriesCount, kLowerCount, kScriptsCount;

}  // namespace narrow::tokenizers::tables
