// tokenize [--pair | --decode | --decode-all | --stream] TOKENIZER: frames from standard input, each after its length in
// bytes (4 bytes, little endian). For comparing with peers.
//
// Frames are texts (two for a --pair): for each a line of ids, then a '|' and the type ids, then a '|' and the mask.
// With --decode (special tokens left out), --decode-all and --stream (as --decode-all, id by id) frames are ids of 4 bytes,
// and the text of each comes in hexadecimal digits, a line each.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"

namespace {

using narrow::tokenizers::Tokenizer;

bool read_frame(std::string& text) {
  std::uint8_t size[4];
  if (std::fread(size, 1, 4, stdin) != 4) return false;
  text.resize(size[0] | size[1] << 8 | size[2] << 16 | static_cast<std::size_t>(size[3]) << 24);
  return std::fread(text.data(), 1, text.size(), stdin) == text.size();
}

void print_row(const std::vector<std::int64_t>& row, char end) {
  for (const std::int64_t v : row) std::printf("%lld ", static_cast<long long>(v));
  std::putchar(end);
}

narrow::Result<std::string> text_of(const Tokenizer& tokenizer, const std::vector<std::int64_t>& ids, std::string_view mode) {
  if (mode != "--stream") return tokenizer.decode(ids, mode == "--decode");
  narrow::tokenizers::StreamDecoder stream(tokenizer, false);
  std::string text;
  for (const std::int64_t id : ids) {
    NARROW_TRY(const std::string more, stream.push(id));
    text += more;
  }
  NARROW_TRY(const std::string rest, stream.finish());
  return text + rest;
}

int decode(const Tokenizer& tokenizer, std::string_view mode) {
  std::string frame;
  while (read_frame(frame)) {
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i + 4 <= frame.size(); i += 4) {
      std::uint32_t id = 0;
      std::memcpy(&id, frame.data() + i, 4);
      ids.push_back(id);
    }
    const auto text = text_of(tokenizer, ids, mode);
    if (!text.ok()) return 3;
    for (const char c : *text) std::printf("%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    std::putchar('\n');
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return 2;
  const std::string_view mode = argc == 3 ? argv[1] : "";
  const auto tokenizer = narrow::tokenizers::read_tokenizer(argv[argc - 1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.error().to_string().c_str());
    return 3;
  }
  if (mode == "--decode" || mode == "--decode-all" || mode == "--stream") return decode(**tokenizer, mode);
  const bool pair = mode == "--pair";
  if (!pair && argc == 3) return 2;
  std::string first, second;
  while (read_frame(first)) {
    if (pair && !read_frame(second)) return 2;
    const auto encoding = pair ? (*tokenizer)->encode(first, second) : (*tokenizer)->encode(first);
    if (!encoding.ok()) {
      std::printf("error\n");
      continue;
    }
    print_row(encoding->ids, '|');
    print_row(encoding->type_ids, '|');
    print_row(encoding->attention_mask, '\n');
  }
  return 0;
}
