// tokenize [--pair] TOKENIZER.JSON: texts from standard input, each after its length in bytes (4 bytes, little endian); a
// line of ids for each on standard output, then a '|' and the type ids, then a '|' and the mask. For comparing with peers.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tokenizers/tokenizer.h"

namespace {

bool read_text(std::string& text) {
  std::uint8_t size[4];
  if (std::fread(size, 1, 4, stdin) != 4) return false;
  text.resize(size[0] | size[1] << 8 | size[2] << 16 | static_cast<std::size_t>(size[3]) << 24);
  return std::fread(text.data(), 1, text.size(), stdin) == text.size();
}

void print_row(const std::vector<std::int64_t>& row, char end) {
  for (const std::int64_t v : row) std::printf("%lld ", static_cast<long long>(v));
  std::putchar(end);
}

}  // namespace

int main(int argc, char** argv) {
  const bool pair = argc == 3 && std::strcmp(argv[1], "--pair") == 0;
  if (argc != 2 && !pair) return 2;
  const auto tokenizer = narrow::tokenizers::read_tokenizer(argv[argc - 1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.error().to_string().c_str());
    return 3;
  }
  std::string first, second;
  while (read_text(first)) {
    if (pair && !read_text(second)) return 2;
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
