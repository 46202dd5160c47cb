#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizers/byte_level.h"
#include "tokenizers/part_kinds.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Made = Result<std::unique_ptr<const PreTokenizer>>;

using Matches = std::vector<Pattern::Match>;

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Cuts a text at matches, which are disjoint and go from left to right. With `invert` what lies between them counts as
// matches, and they as what lies between.
void cut(const Words::Word& whole, const Matches& matches, Behavior behavior, bool invert, Words& words) {
  struct Part {
    std::size_t begin, end;
    bool match;
  };
  std::vector<Part> parts;
  std::size_t covered = 0;
  for (const Pattern::Match& match : matches) {
    if (covered < match.begin) parts.push_back({covered, match.begin, invert});
    parts.push_back({match.begin, match.end, !invert});
    covered = match.end;
  }
  if (covered < whole.text.size()) parts.push_back({covered, whole.text.size(), invert});

  if (behavior == Behavior::kRemoved) std::erase_if(parts, [](const Part& part) { return part.match; });
  std::vector<Part> joined;
  const auto join = [&](auto begin, auto end, const auto& joins) {
    bool previous = false;
    for (auto part = begin; part != end; ++part) {
      if (joins(part->match, previous) && !joined.empty()) {
        joined.back().begin = std::min(joined.back().begin, part->begin);
        joined.back().end = std::max(joined.back().end, part->end);
      } else {
        joined.push_back(*part);
      }
      previous = part->match;
    }
    parts = std::move(joined);
  };
  const auto to_one_match = [](bool match, bool previous) { return match && !previous; };
  if (behavior == Behavior::kContiguous) join(parts.begin(), parts.end(), [](bool match, bool previous) { return match == previous; });
  if (behavior == Behavior::kMergedWithPrevious) join(parts.begin(), parts.end(), to_one_match);
  if (behavior == Behavior::kMergedWithNext) {
    join(parts.rbegin(), parts.rend(), to_one_match);
    std::reverse(parts.begin(), parts.end());
  }
  for (const Part& part : parts) words.add(whole.text.substr(part.begin, part.end - part.begin), whole.at_start && part.begin == 0);
}

// Cuts at characters of one kind.
class AtCharacters final : public PreTokenizer {
 public:
  using Is = bool (*)(char32_t c);
  AtCharacters(Is is, Behavior behavior) : is_(is), behavior_(behavior) {}

  Status split(const Words::Word& whole, Words& words) const override {
    Matches matches;
    for (std::size_t i = 0; i < whole.text.size(); ++i) {
      if (is_(whole.text[i])) matches.push_back({i, i + 1});
    }
    cut(whole, matches, behavior_, false, words);
    return {};
  }

 private:
  Is is_;
  Behavior behavior_;
};

// Cuts where the script changes. What has no script joins what stands before it; in front of everything it is left out.
class AtScripts final : public PreTokenizer {
 public:
  Status split(const Words::Word& whole, Words& words) const override {
    std::size_t begin = 0;
    int last = 0;
    for (std::size_t i = 0; i < whole.text.size(); ++i) {
      const int own = script(whole.text[i]);
      if (own == 0 || own == last) continue;
      if (last != 0) words.add(whole.text.substr(begin, i - begin), whole.at_start && begin == 0);
      begin = i;
      last = own;
    }
    if (last != 0) words.add(whole.text.substr(begin), whole.at_start && begin == 0);
    return {};
  }
};

class AtPattern final : public PreTokenizer {
 public:
  AtPattern(Pattern pattern, Behavior behavior, bool invert) : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status split(const Words::Word& whole, Words& words) const override {
    NARROW_TRY(const Matches matches, pattern_.matches(whole.text));
    cut(whole, matches, behavior_, invert_, words);
    return {};
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const PreTokenizer>> parts) : parts_(std::move(parts)) {}

  Status split(const Words::Word& whole, Words& words) const override {
    Words before, after;
    before.add(whole.text, whole.at_start);
    for (const auto& part : parts_) {
      after.clear();
      for (std::size_t i = 0; i < before.size(); ++i) NARROW_RETURN_IF_ERROR(part->split(before[i], after));
      std::swap(before, after);
    }
    for (std::size_t i = 0; i < before.size(); ++i) words.add(before[i].text, before[i].at_start);
    return {};
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

// \w+|[^\w\s]+
class WordsAndSymbols final : public PreTokenizer {
 public:
  Status split(const Words::Word& whole, Words& words) const override {
    const std::u32string_view text = whole.text;
    for (std::size_t begin = 0, end = 0; begin < text.size(); begin = end) {
      const bool blank = is_white_space(text[begin]), word = is_word(text[begin]);
      for (end = begin + 1; end < text.size() && is_white_space(text[end]) == blank && is_word(text[end]) == word;) ++end;
      if (!blank) words.add(text.substr(begin, end - begin), whole.at_start && begin == 0);
    }
    return {};
  }
};

// Words of so many characters.
class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(std::size_t length) : length_(length) {}

  Status split(const Words::Word& whole, Words& words) const override {
    for (std::size_t i = 0; i < whole.text.size(); i += length_) words.add(whole.text.substr(i, length_), whole.at_start && i == 0);
    return {};
  }

 private:
  std::size_t length_;
};

// SentencePiece's: blanks become visible, one more stands before the text, words begin with it.
class Metaspace final : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  char32_t replacement = 0x2581;
  Prepend prepend = Prepend::kAlways;
  bool cut_words = true;

  Status split(const Words::Word& whole, Words& words) const override {
    std::u32string text;
    const bool starts = whole.text.front() == replacement || whole.text.front() == U' ';
    if (!starts && (prepend == Prepend::kAlways || (prepend == Prepend::kFirst && whole.at_start))) text.push_back(replacement);
    text.append(whole.text);
    std::replace(text.begin(), text.end(), U' ', replacement);
    Matches matches;
    for (std::size_t i = 0; cut_words && i < text.size(); ++i) {
      if (text[i] == replacement) matches.push_back({i, i + 1});
    }
    cut({text, whole.at_start}, matches, Behavior::kMergedWithNext, false, words);
    return {};
  }
};

// GPT-2's: words by its pattern, their bytes as printable characters.
class ByteLevel final : public PreTokenizer {
 public:
  bool add_prefix_space = true;
  std::optional<Pattern> pattern;

  Status split(const Words::Word& whole, Words& words) const override {
    std::u32string prefixed;
    std::u32string_view text = whole.text;
    if (add_prefix_space && text.front() != U' ') {
      prefixed.append(1, U' ').append(text);
      text = prefixed;
    }
    std::u32string word;
    const auto add = [&](std::size_t begin, std::size_t end) {
      word.clear();
      append_byte_characters(text.substr(begin, end - begin), word);
      words.add(word, whole.at_start && begin == 0);
    };
    std::size_t covered = 0;
    if (pattern) {
      NARROW_TRY(const Matches matches, pattern->matches(text));
      for (const Pattern::Match& match : matches) {
        add(covered, match.begin);
        add(match.begin, match.end);
        covered = match.end;
      }
    }
    add(covered, text.size());
    return {};
  }
};

Made at_characters(AtCharacters::Is is, Behavior behavior) { return Made(std::make_unique<AtCharacters>(is, behavior)); }

Result<Behavior> parse_behavior(const Fields& fields) {
  static constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved}, {"Isolated", Behavior::kIsolated}, {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext}, {"Contiguous", Behavior::kContiguous}};
  NARROW_TRY(const std::string name, fields.text_or("behavior", "Isolated"));
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return corrupt(fmt::format("{}: there is no behavior '{}'", fields.where(), name));
}

Made make_split(const Fields& fields) {
  NARROW_TRY(Pattern pattern, parse_pattern(fields));
  NARROW_TRY(const Behavior behavior, parse_behavior(fields));
  NARROW_TRY(const bool invert, fields.flag_or("invert", false));
  return Made(std::make_unique<AtPattern>(std::move(pattern), behavior, invert));
}

Made make_byte_level(const Fields& fields) {
  static constexpr std::string_view kPattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  auto made = std::make_unique<ByteLevel>();
  NARROW_TRY(made->add_prefix_space, fields.flag_or("add_prefix_space", true));
  NARROW_TRY(const bool use_regex, fields.flag_or("use_regex", true));
  if (use_regex) {
    NARROW_TRY(made->pattern, Pattern::compile(kPattern, fields.where()));
  }
  return Made(std::move(made));
}

// One character.
Result<char32_t> character(const Fields& fields, std::string_view name, const char* otherwise) {
  NARROW_TRY(const std::string text, fields.text_or(name, otherwise));
  const std::u32string characters = decode_utf8(text);
  if (characters.size() != 1) return corrupt(fmt::format("{}.{}: '{}' is not one character", fields.where(), name, text));
  return characters[0];
}

Made make_metaspace(const Fields& fields) {
  auto made = std::make_unique<Metaspace>();
  NARROW_TRY(made->replacement, character(fields, "replacement", "\u2581"));
  NARROW_TRY(made->cut_words, fields.flag_or("split", true));
  // Files of before 2024 say add_prefix_space alone.
  NARROW_TRY(const bool prefix, fields.flag_or("add_prefix_space", true));
  NARROW_TRY(const std::string scheme, fields.text_or("prepend_scheme", prefix ? "always" : "never"));
  if (scheme == "always") made->prepend = Metaspace::Prepend::kAlways;
  else if (scheme == "first") made->prepend = Metaspace::Prepend::kFirst;
  else if (scheme == "never") made->prepend = Metaspace::Prepend::kNever;
  else return corrupt(fmt::format("{}.prepend_scheme: '{}', expected always, first or never", fields.where(), scheme));
  return Made(std::move(made));
}

Made make_digits(const Fields& fields) {
  NARROW_TRY(const bool individual, fields.flag_or("individual_digits", false));
  return at_characters(is_number, individual ? Behavior::kIsolated : Behavior::kContiguous);
}

Made make_punctuation(const Fields& fields) {
  NARROW_TRY(const Behavior behavior, parse_behavior(fields));
  return at_characters(is_punctuation, behavior);
}

Made make_delimiter(const Fields& fields) {
  NARROW_TRY(const char32_t delimiter, character(fields, "delimiter", ""));
  return Made(std::make_unique<AtPattern>(Pattern::literal(encode_utf8(std::u32string(1, delimiter))), Behavior::kRemoved, false));
}

Made make_fixed_length(const Fields& fields) {
  NARROW_TRY(const std::int64_t length, fields.whole_or("length", 5));
  if (length == 0) return corrupt(fmt::format("{}.length: words of no characters", fields.where()));
  return Made(std::make_unique<FixedLength>(static_cast<std::size_t>(length)));
}

Made make(const Fields& fields) {
  NARROW_TRY(const PreTokenizerKind* kind, find_kind(pre_tokenizers(), fields, "pre-tokenizer"));
  return kind->make(fields);
}

// Nested as deeply as parse_json lets JSON be.
Made make_sequence(const Fields& fields) {
  NARROW_TRY(const std::vector<Fields> items, fields.list("pretokenizers"));
  std::vector<std::unique_ptr<const PreTokenizer>> parts;
  for (const Fields& item : items) {
    NARROW_TRY(auto part, make(item));
    parts.push_back(std::move(part));
  }
  return Made(std::make_unique<Sequence>(std::move(parts)));
}

}  // namespace

std::span<const PreTokenizerKind> pre_tokenizers() {
  static constexpr PreTokenizerKind kKinds[] = {
      {"BertPreTokenizer", [](const Fields&) { return Made(bert_pre_tokenizer()); }},
      {"ByteLevel", make_byte_level},
      {"Metaspace", make_metaspace},
      {"Sequence", make_sequence},
      {"Split", make_split},
      {"Digits", make_digits},
      {"Punctuation", make_punctuation},
      {"Whitespace", [](const Fields&) { return Made(std::make_unique<WordsAndSymbols>()); }},
      {"WhitespaceSplit", [](const Fields&) { return at_characters(is_white_space, Behavior::kRemoved); }},
      {"CharDelimiterSplit", make_delimiter},
      {"UnicodeScripts", [](const Fields&) { return Made(std::make_unique<AtScripts>()); }},
      {"FixedLength", make_fixed_length},
  };
  return kKinds;
}

std::unique_ptr<const PreTokenizer> bert_pre_tokenizer() {
  std::vector<std::unique_ptr<const PreTokenizer>> parts;
  parts.push_back(std::make_unique<AtCharacters>(is_white_space, Behavior::kRemoved));
  parts.push_back(std::make_unique<AtCharacters>(is_punctuation, Behavior::kIsolated));
  return std::make_unique<Sequence>(std::move(parts));
}

Result<std::unique_ptr<const PreTokenizer>> make_pre_tokenizer(const Fields& file) {
  const auto fields = file.find("pre_tokenizer");
  if (!fields) return std::unique_ptr<const PreTokenizer>();
  return make(*fields);
}

}  // namespace narrow::tokenizers
