#include "tokenizers/gguf_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "tokenizers/bpe.h"
#include "tokenizers/byte_level.h"
#include "tokenizers/pattern.h"
#include "tokenizers/sentencepiece.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using wire::GgufMetadata;
using Type = SentencePieces::Type;

constexpr std::string_view kPrefix = "tokenizer.ggml.";
std::string key(std::string_view name) { return fmt::format("{}{}", kPrefix, name); }

// What every kind of vocabulary has.
struct Tokens {
  std::vector<std::string> texts;
  std::vector<Type> types;  // as many
  SpecialIds special;

  Vocabulary vocabulary() const {
    Vocabulary::Tokens all;
    for (std::size_t i = 0; i < texts.size(); ++i) all.emplace_back(texts[i], static_cast<std::int64_t>(i));
    return Vocabulary(std::move(all));
  }
};

Result<std::optional<std::int64_t>> token_id(const GgufMetadata& metadata, std::string_view name, std::size_t count) {
  if (!metadata.has(key(name))) return std::optional<std::int64_t>();
  NARROW_TRY(const std::int64_t id, metadata.whole(key(name)));
  if (static_cast<std::uint64_t>(id) >= count) return std::optional<std::int64_t>();  // written as 2^32 - 1 where there is none
  return std::optional(id);
}

Result<Tokens> parse_tokens(const GgufMetadata& metadata) {
  Tokens tokens;
  NARROW_TRY(tokens.texts, metadata.texts(key("tokens")));
  const std::size_t count = tokens.texts.size();
  tokens.types.assign(count, Type::kNormal);
  if (metadata.has(key("token_type"))) {
    NARROW_TRY(const std::vector<std::int64_t> types, metadata.wholes(key("token_type")));
    if (types.size() != count) return corrupt(fmt::format("{}: {} types for {} tokens", metadata.where, types.size(), count));
    for (std::size_t i = 0; i < count; ++i) {
      if (types[i] >= 1 && types[i] <= 6) tokens.types[i] = static_cast<Type>(types[i]);
    }
  }
  SpecialIds& special = tokens.special;
  NARROW_TRY(special.bos, token_id(metadata, "bos_token_id", count));
  NARROW_TRY(special.eos, token_id(metadata, "eos_token_id", count));
  NARROW_TRY(special.unknown, token_id(metadata, "unknown_token_id", count));
  NARROW_TRY(special.pad, token_id(metadata, "padding_token_id", count));
  return tokens;
}

Status parse_added(const GgufMetadata& metadata, bool add_bos, bool add_eos, SpecialIds& special) {
  NARROW_TRY(special.add_bos, metadata.flag_or(key("add_bos_token"), add_bos));
  NARROW_TRY(special.add_eos, metadata.flag_or(key("add_eos_token"), add_eos));
  special.add_bos = special.add_bos && special.bos;
  special.add_eos = special.add_eos && special.eos;
  return {};
}

Result<std::shared_ptr<const Tokenizer>> make_spm(const GgufMetadata& metadata, Tokens tokens, SentencePieces::Algorithm algorithm) {
  const bool unigram = algorithm == SentencePieces::Algorithm::kUnigram;
  SentencePieces model;
  model.algorithm = algorithm;
  NARROW_TRY(std::vector<float> scores, metadata.reals(key("scores")));
  if (scores.size() != tokens.texts.size()) {
    return corrupt(fmt::format("{}: {} scores for {} tokens", metadata.where, scores.size(), tokens.texts.size()));
  }
  if (!tokens.special.bos && !unigram && tokens.texts.size() > 1) tokens.special.bos = 1;
  if (!tokens.special.eos && tokens.texts.size() > 2) tokens.special.eos = unigram ? 1 : 2;
  // By its type; where no token has that, by the id that the file names, which is not always its own.
  const auto typed = std::find(tokens.types.begin(), tokens.types.end(), Type::kUnknown);
  const auto unknown = static_cast<std::size_t>(typed != tokens.types.end() ? typed - tokens.types.begin()
                                                                            : tokens.special.unknown.value_or(unigram ? 2 : 0));
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    Type type = tokens.types[i];
    if (type == Type::kUnknown) type = Type::kControl;
    if (i == unknown) type = Type::kUnknown;
    bytes += type == Type::kByte ? 1 : 0;
    if (tokens.texts[i].empty()) type = Type::kUnused;
    model.pieces.push_back({std::move(tokens.texts[i]), scores[i], type});
  }
  model.byte_fallback = bytes == 256;
  NARROW_TRY(model.add_dummy_prefix, metadata.flag_or(key("add_space_prefix"), true));
  NARROW_TRY(model.remove_extra_whitespaces, metadata.flag_or(key("remove_extra_whitespaces"), false));
  if (const wire::GgufValue* map = metadata.find(key("precompiled_charsmap"))) {
    const auto* list = std::get_if<wire::GgufArray>(&map->value);
    if (list == nullptr || list->bytes.size() != list->count) return corrupt(fmt::format("{}: precompiled_charsmap is no list of bytes", metadata.where));
    NARROW_TRY(model.charsmap, Charsmap::parse({reinterpret_cast<const char*>(list->bytes.data()), list->bytes.size()}, metadata.where));
  }
  NARROW_RETURN_IF_ERROR(parse_added(metadata, !unigram, unigram, tokens.special));
  model.special = tokens.special;
  return make_sentencepiece(std::move(model), metadata.where);
}

// Cuts at the matches of each pattern, then writes bytes as characters.
class BytesByPatterns final : public PreTokenizer {
 public:
  explicit BytesByPatterns(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {}

  Status split(const Words::Word& whole, Words& words) const override {
    Words before, after;
    before.add(whole.text, whole.at_start);
    for (const Pattern& pattern : patterns_) {
      after.clear();
      for (std::size_t i = 0; i < before.size(); ++i) {
        const std::u32string_view text = before[i].text;
        NARROW_TRY(const std::vector<Pattern::Match> matches, pattern.matches(text));
        std::size_t covered = 0;
        for (const Pattern::Match& match : matches) {
          after.add(text.substr(covered, match.begin - covered), false);
          after.add(text.substr(match.begin, match.end - match.begin), false);
          covered = match.end;
        }
        after.add(text.substr(covered), false);
      }
      std::swap(before, after);
    }
    std::u32string word;
    for (std::size_t i = 0; i < before.size(); ++i) {
      word.clear();
      append_byte_characters(before[i].text, word);
      words.add(word, false);
    }
    return {};
  }

 private:
  std::vector<Pattern> patterns_;
};

Result<const GgufPreTokenizer*> find_pre_tokenizer(const GgufMetadata& metadata) {
  NARROW_TRY(const std::string name, metadata.text_or(key("pre"), "default"));
  std::vector<std::string_view> names;
  for (const GgufPreTokenizer& row : gguf_pre_tokenizers()) {
    if (row.name == name) return &row;
    names.push_back(row.name);
  }
  return unsupported(fmt::format("{}: the patterns of tokenizer.ggml.pre '{}' are not known here{}", metadata.where, name, base::did_you_mean(name, names)))
      .hint("Give the model's tokenizer.json instead.");
}

// Tokens that are found in the text itself.
void add_tokens(const Tokens& tokens, TokenizerParts& parts) {
  std::vector<AddedToken> in_text;
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    const Type type = tokens.types[i];
    if (type != Type::kControl && type != Type::kUserDefined) continue;
    AddedToken token{.content = tokens.texts[i], .id = static_cast<std::int64_t>(i), .special = type == Type::kControl, .normalized = false};
    if (type == Type::kUserDefined) in_text.push_back(token);
    parts.added.push_back(std::move(token));
  }
  parts.in_text = AddedTokens(std::move(in_text));
}

Result<std::shared_ptr<const Tokenizer>> make_byte_level(const GgufMetadata& metadata, Tokens tokens) {
  NARROW_TRY(const GgufPreTokenizer* pre, find_pre_tokenizer(metadata));
  NARROW_TRY(const std::vector<std::string> lines, metadata.texts(key("merges")));
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& line : lines) {
    const std::size_t blank = line.find(' ', 1);
    if (blank == std::string::npos) return corrupt(fmt::format("{}: merge {} '{}' is not two tokens with a blank between them", metadata.where, merges.size(), line));
    merges.emplace_back(line.substr(0, blank), line.substr(blank + 1));
  }
  std::vector<Pattern> patterns;
  for (const std::string_view pattern : pre->patterns) {
    NARROW_TRY(Pattern compiled, Pattern::compile(pattern, metadata.where));
    patterns.push_back(std::move(compiled));
  }
  NARROW_RETURN_IF_ERROR(parse_added(metadata, pre->add_bos, false, tokens.special));
  TokenizerParts parts;
  parts.kind = "BPE";
  NARROW_TRY(parts.model, make_bpe(tokens.vocabulary(), merges, {.ignore_merges = pre->ignore_merges}, metadata.where));
  parts.pre_tokenizer = std::make_unique<BytesByPatterns>(std::move(patterns));
  parts.decoder = byte_level_decoder();
  add_tokens(tokens, parts);
  parts.special = tokens.special;
  parts.frame = Template::around(parts.special.add_bos ? parts.special.bos : std::nullopt, parts.special.add_eos ? parts.special.eos : std::nullopt);
  return std::make_shared<const Tokenizer>(std::move(parts));
}

// Beginnings of words are marked with U+2581, where WordPiece marks what continues them.
Result<std::shared_ptr<const Tokenizer>> make_bert(const GgufMetadata& metadata, Tokens tokens) {
  constexpr std::string_view kContinues = "##";
  for (std::size_t i = 0; i < tokens.texts.size(); ++i) {
    std::string& text = tokens.texts[i];
    const bool reserved = tokens.types[i] != Type::kNormal || (text.starts_with('[') && text.ends_with(']') && text.size() > 2);
    if (reserved) continue;
    if (text.starts_with(kMetaspace)) text.erase(0, kMetaspace.size());
    else text.insert(0, kContinues);
  }
  const auto name_of = [&](std::optional<std::int64_t> id, const char* otherwise) {
    return id ? tokens.texts[static_cast<std::size_t>(*id)] : std::string(otherwise);
  };
  const std::string unknown = name_of(tokens.special.unknown, "[UNK]");
  NARROW_TRY(std::optional<std::int64_t> cls, token_id(metadata, "cls_token_id", tokens.texts.size()));
  NARROW_TRY(std::optional<std::int64_t> sep, token_id(metadata, "seperator_token_id", tokens.texts.size()));
  Vocabulary vocabulary = tokens.vocabulary();
  if (!cls) cls = tokens.special.bos ? tokens.special.bos : vocabulary.id_of("[CLS]");
  if (!sep) sep = vocabulary.id_of("[SEP]");
  TokenizerParts parts;
  parts.kind = "WordPiece";
  parts.special = tokens.special;
  parts.special.bos = cls;
  parts.special.eos = sep;
  parts.special.add_bos = cls.has_value();
  parts.special.add_eos = sep.has_value();
  NARROW_TRY(parts.model, make_wordpiece(std::move(vocabulary), std::string(kContinues), unknown, 200, metadata.where));
  parts.normalizer = bert_normalizer();
  parts.pre_tokenizer = bert_pre_tokenizer();
  parts.decoder = wordpiece_decoder();
  parts.frame = Template::around(cls, sep);
  add_tokens(tokens, parts);
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_gguf_tokenizer(const GgufMetadata& metadata) {
  if (!metadata.has(key("model"))) {
    return not_found(fmt::format("{}: the file has no vocabulary (no tokenizer.ggml.model)", metadata.where)).hint("Give the model's tokenizer.json with --tokenizer.");
  }
  NARROW_TRY(const std::string model, metadata.text(key("model")));
  NARROW_TRY(Tokens tokens, parse_tokens(metadata));
  if (model == "llama") return make_spm(metadata, std::move(tokens), SentencePieces::Algorithm::kBpe);
  if (model == "t5") return make_spm(metadata, std::move(tokens), SentencePieces::Algorithm::kUnigram);
  if (model == "gpt2") return make_byte_level(metadata, std::move(tokens));
  if (model == "bert") return make_bert(metadata, std::move(tokens));
  return unsupported(fmt::format("{}: a vocabulary of the model '{}', known are llama, t5, gpt2 and bert", metadata.where, model))
      .hint("Give the model's tokenizer.json instead.");
}

}  // namespace narrow::tokenizers
