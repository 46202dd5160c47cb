#include "tokenizers/unicode.h"

#include <algorithm>
#include <span>

#include "tokenizers/unicode_tables.h"

namespace narrow::tokenizers {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// The row whose range holds c, or null.
template <typename Row>
const Row* find_range(std::span<const Row> rows, char32_t c) {
  const auto after = std::upper_bound(rows.begin(), rows.end(), c, [](char32_t x, const Row& row) { return x < row.first; });
  if (after == rows.begin()) return nullptr;
  const Row& row = *std::prev(after);
  return c <= row.last ? &row : nullptr;
}

bool in_table(const tables::Range* rows, std::size_t count, char32_t c) {
  return find_range(std::span(rows, count), c) != nullptr;
}

int combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const auto* row = find_range(std::span(tables::kCombiningClass, tables::kCombiningClassCount), c);
  return row == nullptr ? 0 : row->combining_class;
}

// Hangul syllables are composed by arithmetic (Unicode, chapter 3.12).
constexpr char32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTrails = 28, kSyllables = 11172;

struct Decompositions {
  std::span<const tables::Decomposition> rows;
  const char32_t* pool;

  // False when c has none here.
  bool append(char32_t c, std::u32string& out) const {
    const auto row = std::lower_bound(rows.begin(), rows.end(), c, [](const auto& r, char32_t x) { return r.character < x; });
    if (row == rows.end() || row->character != c) return false;
    out.append(pool + row->begin, row->size);
    return true;
  }
};

const Decompositions kCanonical{{tables::kDecompositions, tables::kDecompositionsCount}, tables::kDecomposed};
const Decompositions kCompatible{{tables::kCompatibilityDecompositions, tables::kCompatibilityDecompositionsCount},
                                 tables::kCompatibilityDecomposed};

void append_decomposed(char32_t c, bool compatible, std::u32string& out) {
  if (c < 0xA0) {
    out.push_back(c);
  } else if (c >= kSyllable && c < kSyllable + kSyllables) {
    const char32_t index = c - kSyllable;
    out.push_back(kLead + index / (kVowels * kTrails));
    out.push_back(kVowel + index % (kVowels * kTrails) / kTrails);
    if (index % kTrails != 0) out.push_back(kTrail + index % kTrails);
  } else if (!(compatible && kCompatible.append(c, out)) && !kCanonical.append(c, out)) {
    out.push_back(c);
  }
}

void decompose(std::u32string& text, bool compatible) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_decomposed(c, compatible, out);
  // Marks that follow a base character go by their class, equal classes in the order they came.
  for (std::size_t i = 0; i < out.size();) {
    if (combining_class(out[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < out.size() && combining_class(out[end]) != 0) ++end;
    if (end - i > 1) {
      std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(i), out.begin() + static_cast<std::ptrdiff_t>(end),
                       [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    }
    i = end;
  }
  text = std::move(out);
}

// What the two compose to, or 0.
char32_t composed(char32_t first, char32_t second) {
  if (first >= kLead && first < kLead + kLeads && second >= kVowel && second < kVowel + kVowels) {
    return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTrails;
  }
  if (first >= kSyllable && first < kSyllable + kSyllables && (first - kSyllable) % kTrails == 0 && second > kTrail &&
      second < kTrail + kTrails) {
    return first + (second - kTrail);
  }
  const std::span rows(tables::kCompositions, tables::kCompositionsCount);
  const auto row = std::lower_bound(rows.begin(), rows.end(), std::pair(first, second),
                                    [](const auto& r, const auto& pair) { return std::pair(r.first, r.second) < pair; });
  return row != rows.end() && row->first == first && row->second == second ? row->composed : 0;
}

}  // namespace

namespace {

std::u32string decode(std::string_view text, bool bytewise) {
  std::u32string out;
  out.reserve(text.size());
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = byte(i++);
    if (lead < 0x80) {
      out.push_back(lead);
      continue;
    }
    // How many bytes follow, and what the first of them may be (no overlong forms, no surrogates, nothing above 10FFFF).
    const int more = lead >= 0xC2 && lead <= 0xDF ? 1 : lead >= 0xE0 && lead <= 0xEF ? 2 : lead >= 0xF0 && lead <= 0xF4 ? 3 : 0;
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    char32_t c = more == 1 ? lead & 0x1Fu : more == 2 ? lead & 0x0Fu : lead & 0x07u;
    int got = 0;
    while (got < more && i < text.size() && byte(i) >= low && byte(i) <= high) {
      c = c << 6 | (byte(i++) & 0x3Fu);
      low = 0x80;
      high = 0xBF;
      ++got;
    }
    const bool whole = more != 0 && got == more;
    out.push_back(whole ? c : bytewise ? kMalformedByte : kReplacement);
    if (!whole && bytewise) i -= static_cast<std::size_t>(got);
  }
  return out;
}

}  // namespace

std::u32string decode_utf8(std::string_view text) { return decode(text, false); }
std::u32string decode_utf8_bytewise(std::string_view text) { return decode(text, true); }

void append_utf8(char32_t c, std::string& out) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | (c >> shift & 0x3F))); };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_other(char32_t c) { return in_table(tables::kOther, tables::kOtherCount, c); }
bool is_mark(char32_t c) { return in_table(tables::kMark, tables::kMarkCount, c); }
bool is_mark_nonspacing(char32_t c) { return in_table(tables::kMarkNonspacing, tables::kMarkNonspacingCount, c); }
bool is_number(char32_t c) { return in_table(tables::kNumber, tables::kNumberCount, c); }
bool is_word(char32_t c) { return in_table(tables::kWord, tables::kWordCount, c); }

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return in_table(tables::kPunctuation, tables::kPunctuationCount, c);
}

int script(char32_t c) {
  const auto* row = find_range(std::span(tables::kScripts, tables::kScriptsCount), c);
  return row == nullptr ? 0 : row->script;
}

bool is_chinese(char32_t c) {
  // 2B81F and 2B920, where Unicode has 2B81D and 2B820, are BERT's tokenizer's own.
  static constexpr tables::Range kBlocks[] = {{0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x2A6DF},
                                              {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
  return in_table(kBlocks, std::size(kBlocks), c);
}

void append_lower(char32_t c, std::u32string& out) {
  if (c < 0x80) {
    out.push_back(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {
    out.append(U"i\u0307");
  } else {
    const auto* run = find_range(std::span(tables::kLower, tables::kLowerCount), c);
    const bool mapped = run != nullptr && (c - run->first) % static_cast<char32_t>(run->step) == 0;
    out.push_back(mapped ? static_cast<char32_t>(static_cast<std::int32_t>(c) + run->distance) : c);
  }
}

void decompose(std::u32string& text) { decompose(text, false); }
void decompose_compatible(std::u32string& text) { decompose(text, true); }

void compose(std::u32string& text) {
  constexpr std::size_t kNone = std::u32string::npos;
  std::size_t kept = 0, starter = kNone;
  int last_class = -1;  // of the marks kept since the starter; -1: there are none
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    const int its_class = combining_class(c);
    if (starter != kNone && last_class < its_class) {  // nothing between them blocks it
      if (const char32_t whole = composed(text[starter], c)) {
        text[starter] = whole;
        continue;
      }
    }
    if (its_class == 0) starter = kept;
    last_class = its_class == 0 ? -1 : its_class;
    text[kept++] = c;
  }
  text.resize(kept);
}

}  // namespace narrow::tokenizers
