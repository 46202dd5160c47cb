#include "tokenizers/stream_decoder.h"

#include <algorithm>
#include <string_view>

#include "tokenizers/tokenizer.h"

namespace narrow::tokenizers {

Result<std::string> StreamDecoder::push(std::int64_t id) {
  // A token that gives no text gives no context either.
  if (!tokenizer_.token_of(id) || (skip_special_ && tokenizer_.is_special(id))) return std::string();
  ids_.push_back(id);
  return advance(false);
}

Result<std::string> StreamDecoder::finish() { return advance(true); }

Result<std::string> StreamDecoder::advance(bool finished) {
  static constexpr std::string_view kReplacement = "\uFFFD";
  NARROW_TRY(const std::string text, tokenizer_.decode(ids_, skip_special_));
  // A character that is cut off decodes to replacement characters; the next token may complete it.
  std::size_t sure = text.size();
  while (!finished && std::string_view(text).substr(0, sure).ends_with(kReplacement)) sure -= kReplacement.size();
  // Where the text before has changed, the next whole character.
  while (given_ < sure && (static_cast<unsigned char>(text[given_]) & 0xC0) == 0x80) ++given_;
  std::string fresh = sure > given_ ? text.substr(given_, sure - given_) : std::string();
  given_ = std::max(given_, sure);
  // The tokens given last stay as context: what a token looks like depends on whether another stands before it.
  if (sure == text.size() && ids_.size() > context_) {
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(context_));
    context_ = ids_.size();
    NARROW_TRY(const std::string kept, tokenizer_.decode(ids_, skip_special_));
    given_ = kept.size();
  }
  return fresh;
}

}  // namespace narrow::tokenizers
