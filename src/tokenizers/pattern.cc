#include "tokenizers/pattern.h"

#include <fmt/format.h>

#include <algorithm>

#define PCRE2_CODE_UNIT_WIDTH 32
#include <pcre2.h>

#include "tokenizers/pattern_syntax.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

// A search that takes more steps than this is given up; a megabyte of blanks needs about as many as it has characters.
constexpr std::uint32_t kMaxSteps = 50'000'000;
constexpr std::uint32_t kMaxHeapKib = 256 * 1024;
constexpr std::size_t kMaxPattern = 1 << 16;

static_assert(sizeof(char32_t) == sizeof(PCRE2_UCHAR32));
PCRE2_SPTR32 units(std::u32string_view text) { return reinterpret_cast<PCRE2_SPTR32>(text.data()); }

std::string message_of(int error) {
  PCRE2_UCHAR32 buffer[256];
  const int length = pcre2_get_error_message_32(error, buffer, std::size(buffer));
  std::string text;
  for (int i = 0; i < length; ++i) append_utf8(buffer[i], text);
  return text;
}

struct FreeCode {
  void operator()(pcre2_code_32* p) const { pcre2_code_free_32(p); }
};
struct FreeMatch {
  void operator()(pcre2_match_data_32* p) const { pcre2_match_data_free_32(p); }
};
struct FreeContext {
  void operator()(pcre2_match_context_32* p) const { pcre2_match_context_free_32(p); }
  void operator()(pcre2_compile_context_32* p) const { pcre2_compile_context_free_32(p); }
};

}  // namespace

struct Pattern::Code {
  std::unique_ptr<pcre2_code_32, FreeCode> code;
  std::unique_ptr<pcre2_match_context_32, FreeContext> limits;
};

Result<Pattern> Pattern::compile(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPattern) {
    return unsupported(fmt::format("{}: a pattern of {} bytes, at most {} are read", where, pattern.size(), kMaxPattern));
  }
  NARROW_TRY(const std::u32string text, to_pcre2(decode_utf8(pattern), where));
  const std::unique_ptr<pcre2_compile_context_32, FreeContext> context(pcre2_compile_context_create_32(nullptr));
  pcre2_set_newline_32(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  Code made;
  made.code.reset(pcre2_compile_32(units(text), text.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &at, context.get()));
  if (!made.code) return corrupt(fmt::format("{}: the pattern '{}' is wrong: {}", where, pattern, message_of(error)));
  pcre2_jit_compile_32(made.code.get(), PCRE2_JIT_COMPLETE);  // where it cannot be compiled it is interpreted
  made.limits.reset(pcre2_match_context_create_32(nullptr));
  pcre2_set_match_limit_32(made.limits.get(), kMaxSteps);
  pcre2_set_heap_limit_32(made.limits.get(), kMaxHeapKib);
  Pattern result;
  result.code_ = std::make_shared<const Code>(std::move(made));
  return result;
}

Pattern Pattern::literal(std::string_view text) {
  Pattern result;
  result.literal_ = decode_utf8(text);
  return result;
}

Result<std::vector<Pattern::Match>> Pattern::matches(std::u32string_view text) const {
  std::vector<Match> found;
  if (!code_) {
    if (literal_.empty()) return found;
    for (std::size_t at = 0; (at = text.find(literal_, at)) != text.npos; at += literal_.size()) found.push_back({at, at + literal_.size()});
    return found;
  }
  const std::unique_ptr<pcre2_match_data_32, FreeMatch> data(pcre2_match_data_create_32(1, nullptr));
  std::size_t from = 0;
  while (from <= text.size()) {
    const auto search = [&](std::uint32_t options) {
      return pcre2_match_32(code_->code.get(), units(text), text.size(), from, options | PCRE2_NO_UTF_CHECK, data.get(), code_->limits.get());
    };
    int result = search(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = search(PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return resource_exhausted(fmt::format("a pattern of the tokenizer was given up at character {} of {} of the text: {}", from,
                                            text.size(), message_of(result)));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer_32(data.get());
    // \K may set the beginning elsewhere.
    const Match match{std::max<std::size_t>(ends[0], from), std::max<std::size_t>(std::max(ends[0], ends[1]), from)};
    if (match.begin == match.end && !found.empty() && found.back().end == match.end) {
      ++from;
      continue;
    }
    found.push_back(match);
    from = match.end;
  }
  return found;
}

}  // namespace narrow::tokenizers
