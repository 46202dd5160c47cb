// The parts that tokenizer.json puts together: normalizer, pre-tokenizer, model, post-processor. Each kind of part is a row
// of the table in its .cc, named as in the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/vocabulary.h"
#include "tokenizers/words.h"

namespace narrow::wire {
class Fields;
}

namespace narrow::tokenizers {

using wire::Fields;

// Errors of the parts: resource_exhausted when a pattern takes too many steps on a text.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual Status apply(std::u32string& text) const = 0;
  // Whether it takes characters off the start of a text that begins so; its first word then is not at the start.
  virtual bool cuts_start(std::u32string_view) const { return false; }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the words of `text`, which is not empty.
  virtual Status split(const Words::Word& text, Words& words) const = 0;
};

class Model {
 public:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~Model() = default;

  // Appends the ids of a word in UTF-8, which is not empty. Errors: corrupt when a token is needed that the file names but
  // does not have.
  virtual Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const = 0;

  // False: a text may be cut before a U+2581 that follows another character, and the parts tokenized one by one.
  virtual bool joins_across_words() const { return true; }

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
};

inline constexpr std::string_view kMetaspace = "\u2581";  // a blank, made visible
// Whether U+2581 follows another character in it.
bool has_inner_space(std::string_view token);

// What stands around the tokens of one text, or of two.
struct Template {
  enum class Kind { kFirst, kSecond, kSpecial };
  struct Piece {
    Kind kind = Kind::kFirst;
    std::int64_t type_id = 0;
    std::vector<std::int64_t> ids;  // of a special token
  };
  std::vector<Piece> single, pair;

  static std::size_t special_tokens(const std::vector<Piece>& pieces);
  // These before and after each text.
  static Template around(std::optional<std::int64_t> before, std::optional<std::int64_t> after);
};

// Tokens with a role.
struct SpecialIds {
  std::optional<std::int64_t> bos, eos, unknown, pad;
  bool add_bos = false, add_eos = false;  // whether encode() puts them around a text
};

template <typename Part>
struct PartKind {
  std::string_view name;
  Result<Part> (*make)(const Fields& fields);
};

using NormalizerKind = PartKind<std::unique_ptr<const Normalizer>>;
using PreTokenizerKind = PartKind<std::unique_ptr<const PreTokenizer>>;
using PostProcessorKind = PartKind<Template>;

std::span<const NormalizerKind> normalizers();          // normalizers.cc
std::span<const PreTokenizerKind> pre_tokenizers();     // pre_tokenizers.cc
std::span<const PostProcessorKind> post_processors();   // post_processors.cc

// The part that field `name` of the file describes by its "type"; null (or the plain template) when there is none.
// Errors: corrupt; unsupported, naming the kinds that are known.
Result<std::unique_ptr<const Normalizer>> make_normalizer(const Fields& file);
Result<std::unique_ptr<const PreTokenizer>> make_pre_tokenizer(const Fields& file);
Result<Template> make_post_processor(const Fields& file);

// BERT's own, for vocabularies in other files than tokenizer.json: small letters without accents.
std::unique_ptr<const Normalizer> bert_normalizer();
std::unique_ptr<const PreTokenizer> bert_pre_tokenizer();

// One file a model.
Result<std::unique_ptr<const Model>> make_wordpiece(const Fields& model);
Result<std::unique_ptr<const Model>> make_wordpiece(Vocabulary vocabulary, const std::string& prefix, const std::string& unknown,
                                                    std::size_t max_characters, const std::string& where);
Result<std::unique_ptr<const Model>> make_bpe(const Fields& model);
Result<std::unique_ptr<const Model>> make_unigram(const Fields& model);
Result<std::unique_ptr<const Model>> make_word_level(const Fields& model);

}  // namespace narrow::tokenizers
