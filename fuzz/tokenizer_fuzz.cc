// A tokenizer.json, a zero byte, and text to encode with it: an error, or ids that come out the same twice and have a text.
#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view whole(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(whole.find('\0'), size);
  const std::string_view text = zero == size ? "Un\xC3\xA9, \xE6\x9D\xB1!" : whole.substr(zero + 1);
  const auto tokenizer = narrow::tokenizers::parse_tokenizer(whole.substr(0, zero), "fuzz.json");
  if (!tokenizer.ok()) {
    if (tokenizer.error().to_string().empty()) std::abort();
    return 0;
  }
  const auto once = (*tokenizer)->encode(text), twice = (*tokenizer)->encode(text);
  if (once.ok() != twice.ok()) std::abort();
  if (once.ok() && (once->ids != twice->ids || once->ids.size() != once->type_ids.size() || once->ids.size() != once->attention_mask.size())) std::abort();
  const auto pair = (*tokenizer)->encode(text, text.substr(text.size() / 2));
  if (!pair.ok() && pair.error().to_string().empty()) std::abort();
  if (!once.ok()) return 0;
  narrow::tokenizers::StreamDecoder stream(**tokenizer);
  for (const std::int64_t id : once->ids) {
    if (!stream.push(id).ok()) return 0;
  }
  if (!stream.finish().ok() || !(*tokenizer)->decode(once->ids, false).ok()) std::abort();
  return 0;
}
