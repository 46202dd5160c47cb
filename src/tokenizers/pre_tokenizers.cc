#include "tokenizers/part_kinds.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Made = Result<std::unique_ptr<const PreTokenizer>>;

// Words end at white space; every punctuation character is a word.
class Bert final : public PreTokenizer {
 public:
  void split(std::u32string_view text, std::vector<std::string>& words) const override {
    std::string word;
    const auto end_word = [&] {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    };
    for (const char32_t c : text) {
      const bool punctuation = is_punctuation(c);
      if (punctuation || is_white_space(c)) end_word();
      if (is_white_space(c)) continue;
      append_utf8(c, word);
      if (punctuation) end_word();
    }
    end_word();
  }
};

class WhitespaceSplit final : public PreTokenizer {
 public:
  void split(std::u32string_view text, std::vector<std::string>& words) const override {
    std::size_t i = 0;
    while (i < text.size()) {
      while (i < text.size() && is_white_space(text[i])) ++i;
      std::size_t end = i;
      while (end < text.size() && !is_white_space(text[end])) ++end;
      if (end != i) words.push_back(encode_utf8(text.substr(i, end - i)));
      i = end;
    }
  }
};

}  // namespace

std::span<const PreTokenizerKind> pre_tokenizers() {
  static constexpr PreTokenizerKind kKinds[] = {
      {"BertPreTokenizer", [](const Fields&) { return Made(std::make_unique<Bert>()); }},
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
