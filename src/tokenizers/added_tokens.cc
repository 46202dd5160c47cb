#include "tokenizers/added_tokens.h"

#include <algorithm>
#include <unordered_map>

#include "wire/json.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, std::int64_t>> pieces;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    pieces.emplace_back(tokens_[i].content, static_cast<std::int64_t>(i));
    if (!tokens_[i].content.empty()) first_bytes_.push_back(tokens_[i].content[0]);
  }
  table_ = PieceTable(std::move(pieces));
  std::sort(first_bytes_.begin(), first_bytes_.end());
}

std::vector<AddedTokens::Part> AddedTokens::split(std::u32string_view text) const {
  std::vector<Part> parts;
  if (text.empty()) return parts;
  std::size_t covered = 0;
  if (table_.size() != 0) {
    const std::string bytes = encode_utf8(text);
    const auto length_at = [&](std::size_t at) {  // in bytes, of the character there
      const auto c = static_cast<unsigned char>(bytes[at]);
      return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    };
    std::size_t byte = 0;
    for (std::size_t at = 0; at < text.size();) {
      PieceTable::Match match;
      if (std::binary_search(first_bytes_.begin(), first_bytes_.end(), bytes[byte])) {
        match = table_.longest_match(std::string_view(bytes).substr(byte));
      }
      if (match.length == 0) {
        byte += length_at(byte);
        ++at;
        continue;
      }
      const AddedToken& token = tokens_[static_cast<std::size_t>(match.id)];
      std::size_t begin = at, end = at;
      for (const std::size_t stop = byte + match.length; byte < stop; byte += length_at(byte)) ++end;
      at = end;  // a token that is turned down hides what begins inside it
      const bool joined = (begin != 0 && is_word(text[begin - 1])) || (end != text.size() && is_word(text[end]));
      if (token.single_word && joined) continue;
      if (token.lstrip) {
        while (begin > covered && is_white_space(text[begin - 1])) --begin;
      }
      if (token.rstrip) {
        while (end < text.size() && is_white_space(text[end])) ++end;
      }
      if (covered < begin) parts.push_back({covered, begin, std::nullopt});
      parts.push_back({begin, end, token.id});
      covered = end;
    }
  }
  if (covered < text.size()) parts.push_back({covered, text.size(), std::nullopt});
  return parts;
}

Result<std::vector<AddedToken>> parse_added_tokens(const Fields& file, const Model& model) {
  std::vector<AddedToken> tokens;
  if (!file.has("added_tokens")) return tokens;
  NARROW_TRY(const std::vector<Fields> items, file.list("added_tokens"));
  std::unordered_map<std::string, std::int64_t> ids;
  auto next = static_cast<std::int64_t>(model.vocabulary().size());
  for (const Fields& item : items) {
    AddedToken token;
    NARROW_TRY(token.content, item.text("content"));
    NARROW_TRY(token.special, item.flag_or("special", false));
    NARROW_TRY(token.single_word, item.flag_or("single_word", false));
    NARROW_TRY(token.lstrip, item.flag_or("lstrip", false));
    NARROW_TRY(token.rstrip, item.flag_or("rstrip", false));
    NARROW_TRY(token.normalized, item.flag_or("normalized", !token.special));
    if (token.content.empty()) continue;
    if (const auto known = model.vocabulary().id_of(token.content)) token.id = *known;
    else if (ids.contains(token.content)) token.id = ids[token.content];
    else token.id = next;
    ids[token.content] = token.id;
    next = std::max(next, token.id + 1);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace narrow::tokenizers
