#include <nlohmann/json.hpp>

#include "tokenizers/part_kinds.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

// Padding longer than this is no text but an attack on memory.
constexpr std::int64_t kMaxPadded = 1 << 20;

Result<const TokenizerKind*> find_model(const Fields& model) {
  // Files of before 2020 do not say which model they hold.
  if (!model.has("type")) {
    if (model.has("max_input_chars_per_word")) return &tokenizer_kinds()[0];
    if (model.has("unk_id")) return &tokenizer_kinds()[2];
    if (model.has("merges")) return &tokenizer_kinds()[1];
  }
  return find_kind(tokenizer_kinds(), model, "tokenizer model");
}

Result<Side> parse_side(const Fields& fields) {
  NARROW_TRY(const std::string side, fields.text_or("direction", "Right"));
  if (side == "Right") return Side::kRight;
  if (side == "Left") return Side::kLeft;
  return corrupt(fmt::format("{}: there is no direction '{}', expected Left or Right", fields.where(), side));
}

Result<std::optional<Truncation>> parse_truncation(const Fields& file) {
  const auto fields = file.find("truncation");
  if (!fields) return std::optional<Truncation>();
  Truncation truncation;
  NARROW_TRY(const std::int64_t length, fields->whole("max_length"));
  truncation.max_length = static_cast<std::size_t>(length);
  NARROW_TRY(truncation.side, parse_side(*fields));
  NARROW_TRY(const std::string strategy, fields->text_or("strategy", "LongestFirst"));
  if (strategy == "OnlyFirst") truncation.strategy = Truncation::Strategy::kOnlyFirst;
  else if (strategy == "OnlySecond") truncation.strategy = Truncation::Strategy::kOnlySecond;
  else if (strategy != "LongestFirst") {
    return corrupt(fmt::format("{}: there is no strategy '{}', expected LongestFirst, OnlyFirst or OnlySecond", fields->where(), strategy));
  }
  return std::optional(truncation);
}

Result<std::optional<Padding>> parse_padding(const Fields& file) {
  const auto fields = file.find("padding");
  if (!fields) return std::optional<Padding>();
  Padding padding;
  if (const auto strategy = fields->find("strategy"); strategy && strategy->value().is_object()) {
    NARROW_TRY(const std::int64_t fixed, strategy->whole("Fixed"));
    if (fixed > kMaxPadded) return unsupported(fmt::format("{}: padding to {} tokens, at most {} is done", strategy->where(), fixed, kMaxPadded));
    padding.fixed = static_cast<std::size_t>(fixed);
  } else if (strategy && strategy->value() != "BatchLongest") {
    return strategy->wrong("\"BatchLongest\" or {\"Fixed\": length}");
  }
  NARROW_TRY(const std::int64_t multiple, fields->whole_or("pad_to_multiple_of", 0));
  if (multiple > kMaxPadded) return unsupported(fmt::format("{}: padding to multiples of {} tokens, at most {} is done", fields->where(), multiple, kMaxPadded));
  padding.multiple_of = static_cast<std::size_t>(multiple);
  NARROW_TRY(padding.side, parse_side(*fields));
  NARROW_TRY(padding.id, fields->whole_or("pad_id", 0));
  NARROW_TRY(padding.type_id, fields->whole_or("pad_type_id", 0));
  return std::optional(padding);
}

}  // namespace

std::span<const TokenizerKind> tokenizer_kinds() {
  static constexpr TokenizerKind kKinds[] = {
      {"WordPiece", "the longest known piece first, as BERT and its kin (tokenizer.json)", make_wordpiece},
      {"BPE", "pairs joined in the order they were learnt, as GPT-2, Llama, Qwen and most language models (tokenizer.json)", make_bpe},
      {"Unigram", "the likeliest pieces, as T5, XLM-RoBERTa and ALBERT (tokenizer.json)", make_unigram},
      {"WordLevel", "every word a token (tokenizer.json)", make_word_level},
  };
  return kKinds;
}

Result<TokenizerParts> parse_tokenizer_parts(const Fields& file) {
  NARROW_TRY(const Fields model, file.object("model"));
  NARROW_TRY(const TokenizerKind* kind, find_model(model));
  TokenizerParts parts;
  parts.kind = kind->name;
  NARROW_TRY(parts.model, kind->make(model));
  NARROW_TRY(parts.normalizer, make_normalizer(file));
  NARROW_TRY(parts.pre_tokenizer, make_pre_tokenizer(file));
  NARROW_TRY(parts.decoder, make_decoder(file));
  NARROW_TRY(parts.frame, make_post_processor(file));
  NARROW_TRY(parts.truncation, parse_truncation(file));
  NARROW_TRY(parts.padding, parse_padding(file));
  NARROW_TRY(std::vector<AddedToken> added, parse_added_tokens(file, *parts.model));
  parts.added = added;
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : added) {
    if (token.normalized && parts.normalizer) {
      std::u32string content = decode_utf8(token.content);
      NARROW_RETURN_IF_ERROR(parts.normalizer->apply(content));
      token.content = encode_utf8(content);
    }
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  parts.in_text = AddedTokens(std::move(raw));
  parts.in_normalized_text = AddedTokens(std::move(normalized));
  return parts;
}

Result<TokenizerParts> parse_tokenizer_parts(std::string_view text, const std::string& where) {
  NARROW_TRY(const nlohmann::json document, wire::parse_json(text, where));
  return parse_tokenizer_parts(Fields(document, where));
}

Result<std::shared_ptr<const Tokenizer>> parse_tokenizer(std::string_view text, const std::string& where) {
  NARROW_TRY(TokenizerParts parts, parse_tokenizer_parts(text, where));
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace narrow::tokenizers
