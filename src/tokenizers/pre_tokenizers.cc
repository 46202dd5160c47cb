#include <optional>

#include "tokenizers/byte_level.h"
#include "tokenizers/part_kinds.h"
#include "tokenizers/pattern.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Made = Result<std::unique_ptr<const PreTokenizer>>;

// Words end at white space; every punctuation character is a word.
class Bert final : public PreTokenizer {
 public:
  Status split(const Words::Word& whole, Words& words) const override {
    const std::u32string_view text = whole.text;
    std::size_t begin = 0;
    const auto end_word = [&](std::size_t end) { words.add(text.substr(begin, end - begin), whole.at_start && begin == 0); };
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool punctuation = is_punctuation(text[i]);
      if (!punctuation && !is_white_space(text[i])) continue;
      end_word(i);
      begin = i;
      if (punctuation) end_word(i + 1);
      begin = i + 1;
    }
    end_word(text.size());
    return {};
  }
};

class WhitespaceSplit final : public PreTokenizer {
 public:
  Status split(const Words::Word& whole, Words& words) const override {
    const std::u32string_view text = whole.text;
    std::size_t i = 0;
    while (i < text.size()) {
      while (i < text.size() && is_white_space(text[i])) ++i;
      std::size_t end = i;
      while (end < text.size() && !is_white_space(text[end])) ++end;
      words.add(text.substr(i, end - i), whole.at_start && i == 0);
      i = end;
    }
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
      NARROW_TRY(const std::vector<Pattern::Match> matches, pattern->matches(text));
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

}  // namespace

std::span<const PreTokenizerKind> pre_tokenizers() {
  static constexpr PreTokenizerKind kKinds[] = {
      {"BertPreTokenizer", [](const Fields&) { return Made(std::make_unique<Bert>()); }},
      {"ByteLevel", make_byte_level},
      {"WhitespaceSplit", [](const Fields&) { return Made(std::make_unique<WhitespaceSplit>()); }},
  };
  return kKinds;
}

Result<std::unique_ptr<const PreTokenizer>> make_pre_tokenizer(const Fields& file) {
  const auto fields = file.find("pre_tokenizer");
  if (!fields) return std::unique_ptr<const PreTokenizer>();
  NARROW_TRY(const PreTokenizerKind* kind, find_kind(pre_tokenizers(), *fields, "pre-tokenizer"));
  return kind->make(*fields);
}

}  // namespace narrow::tokenizers
