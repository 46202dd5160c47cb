#include "tokenizers/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::size_t kStart = 16;  // characters of a text by which normalizers are asked whether they cut its start

void cut(Ids& ids, std::size_t length, Side side) {
  if (ids.size() <= length) return;
  if (side == Side::kRight) ids.resize(length);
  else ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(length));
}

// Both texts together to `length` tokens, taken from the longer one first.
void cut_longest(Ids& first, Ids& second, std::size_t length, Side side) {
  std::size_t shorter = std::min(first.size(), second.size()), longer = std::max(first.size(), second.size());
  if (shorter > length) longer = shorter;
  else longer = std::max(shorter, length - shorter);
  if (shorter + longer > length) {
    shorter = length / 2;
    longer = shorter + length % 2;
  }
  const bool first_longer = first.size() > second.size();
  cut(first, first_longer ? longer : shorter, side);
  cut(second, first_longer ? shorter : longer, side);
}

Status truncate(Ids& first, Ids* second, const Truncation& truncation, std::size_t length) {
  using Strategy = Truncation::Strategy;
  const std::size_t total = first.size() + (second != nullptr ? second->size() : 0);
  if (total <= length) return {};
  if (length == 0) {
    first.clear();
    if (second != nullptr) second->clear();
    return {};
  }
  if (truncation.strategy == Strategy::kLongestFirst) {
    if (second != nullptr) cut_longest(first, *second, length, truncation.side);
    else cut(first, length, truncation.side);
    return {};
  }
  Ids* target = truncation.strategy == Strategy::kOnlyFirst ? &first : second;
  if (target == nullptr) {
    return invalid_argument("the tokenizer truncates the second text of a pair, and there is only one").hint("Give pairs of texts.");
  }
  const std::size_t excess = total - length;
  if (target->size() <= excess) {
    return invalid_argument(fmt::format("{} tokens are too many by {}, and the text that the tokenizer truncates has only {}", total,
                                        excess, target->size()))
        .hint("Give shorter texts, or let the tokenizer truncate the longest first.");
  }
  cut(*target, target->size() - excess, truncation.side);
  return {};
}

void pad(Encoding& encoding, const Padding& padding) {
  std::size_t length = padding.fixed.value_or(encoding.ids.size());
  if (padding.multiple_of != 0) length = (length + padding.multiple_of - 1) / padding.multiple_of * padding.multiple_of;
  if (length <= encoding.ids.size()) return;
  const std::size_t count = length - encoding.ids.size();
  const auto fill = [&](Ids& row, std::int64_t value) {
    row.insert(padding.side == Side::kRight ? row.end() : row.begin(), count, value);
  };
  fill(encoding.ids, padding.id);
  fill(encoding.type_ids, padding.type_id);
  fill(encoding.attention_mask, 0);
}

}  // namespace

bool has_inner_space(std::string_view token) {
  std::size_t at = 0;
  while (token.substr(at).starts_with(kMetaspace)) at += kMetaspace.size();
  return token.find(kMetaspace, at) != token.npos;
}

Tokenizer::Tokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  for (std::size_t i = 0; i < parts_.added.size(); ++i) {
    added_by_id_[parts_.added[i].id] = i;
    if (parts_.added[i].special) special_.insert(parts_.added[i].content);
  }
}

std::optional<std::string_view> Tokenizer::token_of(std::int64_t id) const {
  const auto added = added_by_id_.find(id);
  if (added != added_by_id_.end()) return parts_.added[added->second].content;
  return parts_.model->vocabulary().token_of(id);
}

std::optional<std::int64_t> Tokenizer::id_of(std::string_view token) const {
  for (const AddedToken& added : parts_.added) {
    if (added.content == token) return added.id;
  }
  return parts_.model->vocabulary().id_of(token);
}

bool Tokenizer::is_special(std::int64_t id) const {
  const auto token = token_of(id);
  return token && special_.contains(*token);  // by what it says: a vocabulary may hold it twice
}

std::size_t Tokenizer::id_count() const {
  std::int64_t most = -1;
  for (const auto& [token, id] : parts_.model->vocabulary().tokens()) most = std::max(most, id);
  for (const AddedToken& token : parts_.added) most = std::max(most, token.id);
  return static_cast<std::size_t>(most + 1);
}

Result<std::string> Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    if (skip_special && is_special(id)) continue;
    if (const auto token = token_of(id)) tokens.emplace_back(*token);
  }
  if (parts_.decoder) NARROW_RETURN_IF_ERROR(parts_.decoder->apply(tokens));
  else return base::join(tokens, " ");
  return base::join(tokens, "");
}

Status Tokenizer::append_tokens(const Words::Word& text, Scratch& scratch, Ids& ids) const {
  scratch.words.clear();
  if (parts_.pre_tokenizer) NARROW_RETURN_IF_ERROR(parts_.pre_tokenizer->split(text, scratch.words));
  else scratch.words.add(text.text, text.at_start);
  for (std::size_t i = 0; i < scratch.words.size(); ++i) {
    scratch.word.clear();
    for (const char32_t c : scratch.words[i].text) append_utf8(c, scratch.word);
    std::string_view rest = scratch.word;
    while (!parts_.model->joins_across_words()) {
      // From here to the next blank that follows something else.
      std::size_t end = 0;
      while (rest.substr(end).starts_with(kMetaspace)) end += kMetaspace.size();
      end = std::min(rest.find(kMetaspace, end), rest.size());
      if (end == rest.size()) break;
      NARROW_RETURN_IF_ERROR(append_word(rest.substr(0, end), scratch.cache, ids));
      rest.remove_prefix(end);
    }
    NARROW_RETURN_IF_ERROR(append_word(rest, scratch.cache, ids));
  }
  return {};
}

Status Tokenizer::append_word(std::string_view word, WordCache* cache, Ids& ids) const {
  if (cache != nullptr && cache->append(word, ids)) return {};
  const std::size_t before = ids.size();
  NARROW_RETURN_IF_ERROR(parts_.model->tokenize(word, ids));
  if (cache != nullptr) cache->keep(word, std::span(ids).subspan(before));
  return {};
}

Result<Ids> Tokenizer::tokens_of(std::string_view text) const {
  Ids ids;
  Scratch scratch;
  // One caller at a time has the cache; who finds it taken does without.
  const std::unique_lock lock(cache_mutex_, std::try_to_lock);
  if (lock.owns_lock()) scratch.cache = &cache_;
  const std::u32string whole = parts_.bytewise ? decode_utf8_bytewise(text) : decode_utf8(text);
  for (const AddedTokens::Part& part : parts_.in_text.split(whole)) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    std::u32string normalized = whole.substr(part.begin, part.end - part.begin);
    bool at_start = part.begin == 0;
    if (parts_.normalizer) {
      at_start = at_start && !parts_.normalizer->cuts_start(std::u32string_view(normalized).substr(0, kStart));
      NARROW_RETURN_IF_ERROR(parts_.normalizer->apply(normalized));
    }
    for (const AddedTokens::Part& piece : parts_.in_normalized_text.split(normalized)) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      const auto between = std::u32string_view(normalized).substr(piece.begin, piece.end - piece.begin);
      NARROW_RETURN_IF_ERROR(append_tokens({between, at_start && piece.begin == 0}, scratch, ids));
    }
  }
  return ids;
}

Result<Encoding> Tokenizer::finish(Ids first, Ids* second, const EncodeOptions& options) const {
  const std::vector<Template::Piece>& frame = second != nullptr ? parts_.frame.pair : parts_.frame.single;
  std::optional<Truncation> truncation = parts_.truncation;
  if (options.max_length.value_or(0) != 0) {
    if (!truncation) truncation = Truncation{*options.max_length};
    truncation->max_length = std::min(truncation->max_length, *options.max_length);
  }
  if (truncation) {
    const std::size_t added = options.special_tokens ? Template::special_tokens(frame) : 0;
    const std::size_t room = truncation->max_length > added ? truncation->max_length - added : 0;
    NARROW_RETURN_IF_ERROR(truncate(first, second, *truncation, room));
  }
  Encoding encoding;
  for (const Template::Piece& piece : frame) {
    if (piece.kind == Template::Kind::kSpecial && !options.special_tokens) continue;
    const Ids& ids = piece.kind == Template::Kind::kFirst ? first : piece.kind == Template::Kind::kSecond ? *second : piece.ids;
    encoding.ids.insert(encoding.ids.end(), ids.begin(), ids.end());
    encoding.type_ids.insert(encoding.type_ids.end(), ids.size(), piece.type_id);
  }
  encoding.attention_mask.assign(encoding.ids.size(), 1);
  if (parts_.padding && options.padding) pad(encoding, *parts_.padding);
  return encoding;
}

Result<Encoding> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  NARROW_TRY(Ids ids, tokens_of(text));
  return finish(std::move(ids), nullptr, options);
}

Result<Encoding> Tokenizer::encode(std::string_view first, std::string_view second, const EncodeOptions& options) const {
  NARROW_TRY(Ids ids, tokens_of(first));
  NARROW_TRY(Ids other, tokens_of(second));
  return finish(std::move(ids), &other, options);
}

}  // namespace narrow::tokenizers
