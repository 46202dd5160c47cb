// A vocabulary of SentencePiece, llama2.c or GGUF: an error, or a tokenizer whose ids are its tokens'.
#include <cstdlib>
#include <string>

#include "tokenizers/gguf_vocabulary.h"
#include "tokenizers/sentencepiece.h"

namespace {

using namespace narrow::tokenizers;
using Made = narrow::Result<std::shared_ptr<const Tokenizer>>;

Made of_pieces(narrow::Result<SentencePieces> pieces) {
  if (!pieces.ok()) return std::move(pieces).error();
  return make_sentencepiece(*std::move(pieces), "fuzz.model");
}

Made of_gguf(std::span<const std::uint8_t> bytes) {
  const auto head = narrow::wire::parse_gguf_head(bytes, "fuzz.gguf");
  if (!head.ok()) return head.error();
  return make_gguf_tokenizer(head->metadata);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(data, size);
  const bool gguf = size >= 4 && data[0] == 'G' && data[1] == 'G', llama2c = size >= 4 && data[2] == 0 && data[3] == 0;
  const Made tokenizer = gguf ? of_gguf(bytes) : of_pieces(llama2c ? parse_llama2c_vocabulary(bytes, "fuzz.bin") : parse_sentencepiece_model(bytes, "fuzz.model"));
  if (!tokenizer.ok()) {
    if (tokenizer.error().to_string().empty()) std::abort();
    return 0;
  }
  const std::string text = " ab  \xC3\xA9\xFF abc<s>\xE6\x9D\xB1 <mask>" + std::string(data + size / 2, data + size);
  const auto encoding = (*tokenizer)->encode(text);
  if (!encoding.ok()) return 0;
  for (const std::int64_t id : encoding->ids) {
    if (!(*tokenizer)->token_of(id)) std::abort();
  }
  if (!(*tokenizer)->decode(encoding->ids, false).ok()) std::abort();
  return 0;
}
