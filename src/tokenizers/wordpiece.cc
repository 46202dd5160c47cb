// WordPiece (Schuster & Nakajima 2012, as BERT uses it): the longest piece that the rest of the word begins with, again and
// again; a word that cannot be spelled that way is unknown as a whole.
#include <fmt/format.h>

#include <algorithm>

#include "wire/json.h"
#include "tokenizers/parts.h"
#include "tokenizers/piece_table.h"

namespace narrow::tokenizers {
namespace {

// Spelling a word takes up to the square of its length in steps; real tokenizers give up after 100 or 200 characters.
constexpr std::int64_t kMaxCharacters = 10'000;

class WordPiece final : public Model {
 public:
  explicit WordPiece(Vocabulary tokens) : Model(std::move(tokens)) {}

  PieceTable all;          // every token as it is written: what a word may begin with
  PieceTable continuing;   // without the prefix: what may follow inside a word
  std::int64_t unknown = 0;
  std::size_t max_characters = 100;

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    const auto characters = std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; });
    const std::size_t before = ids.size();
    bool known = static_cast<std::size_t>(characters) <= max_characters;
    for (std::size_t at = 0; known && at < word.size();) {
      const PieceTable::Match match = (at == 0 ? all : continuing).longest_match(word.substr(at));
      known = match.length != 0;
      if (known) ids.push_back(match.id);
      at += match.length;
    }
    if (known) return {};
    ids.resize(before);
    ids.push_back(unknown);
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<const Model>> make_wordpiece(Vocabulary vocabulary, const std::string& prefix, const std::string& unknown,
                                                    std::size_t max_characters, const std::string& where) {
  Vocabulary::Tokens continuing;
  for (const auto& [token, id] : vocabulary.tokens()) {
    if (token.starts_with(prefix)) continuing.emplace_back(token.substr(prefix.size()), id);
  }
  const auto id = vocabulary.id_of(unknown);
  if (!id) return corrupt(fmt::format("{}: the unknown token '{}' is not in the vocabulary", where, unknown));
  PieceTable all(vocabulary.tokens());
  auto made = std::make_unique<WordPiece>(std::move(vocabulary));
  made->max_characters = max_characters;
  made->all = std::move(all);
  made->continuing = PieceTable(std::move(continuing));
  made->unknown = *id;
  return std::unique_ptr<const Model>(std::move(made));
}

Result<std::unique_ptr<const Model>> make_wordpiece(const Fields& model) {
  NARROW_TRY(const Fields vocab, model.object("vocab"));
  NARROW_TRY(Vocabulary vocabulary, Vocabulary::parse(vocab));
  NARROW_TRY(const std::string prefix, model.text_or("continuing_subword_prefix", "##"));
  NARROW_TRY(const std::string unknown, model.text_or("unk_token", "[UNK]"));
  NARROW_TRY(const std::int64_t max_characters, model.whole_or("max_input_chars_per_word", 100));
  if (max_characters > kMaxCharacters) {
    return unsupported(fmt::format("{}: words of {} characters, at most {} are spelled", model.where(), max_characters, kMaxCharacters));
  }
  return make_wordpiece(std::move(vocabulary), prefix, unknown, static_cast<std::size_t>(max_characters), model.where());
}

}  // namespace narrow::tokenizers
