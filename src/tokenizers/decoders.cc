#include "tokenizers/decoders.h"

#include <algorithm>
#include <utility>

#include "tokenizers/byte_level.h"
#include "tokenizers/part_kinds.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Tokens = std::vector<std::string>;
using Made = Result<std::unique_ptr<const Decoder>>;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  std::size_t covered = 0;
  for (std::size_t at = 0; (at = text.find(from, covered)) != text.npos; covered = at + from.size()) {
    out.append(text, covered, at - covered).append(to);
  }
  text = out.append(text, covered, text.npos);
}

// Blanks that stand before what English writes without them.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

void fuse(Tokens& tokens) {
  std::string whole;
  for (const std::string& token : tokens) whole += token;
  tokens.assign(1, std::move(whole));
}

// A decoder that is one function.
class Step final : public Decoder {
 public:
  explicit Step(void (*step)(Tokens&)) : step_(step) {}
  Status apply(Tokens& tokens) const override {
    step_(tokens);
    return {};
  }

 private:
  void (*step_)(Tokens&);
};

class Sequence final : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Decoder>> parts) : parts_(std::move(parts)) {}
  Status apply(Tokens& tokens) const override {
    for (const auto& part : parts_) NARROW_RETURN_IF_ERROR(part->apply(tokens));
    return {};
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> parts_;
};

void decode_byte_level(Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    const std::size_t before = bytes.size();
    for (const char32_t c : decode_utf8(token)) {
      if (const auto byte = byte_of_character(c)) {
        bytes.push_back(static_cast<char>(*byte));
        continue;
      }
      bytes.resize(before);  // a token that is no such spelling stands for itself
      bytes += token;
      break;
    }
  }
  tokens.assign(1, encode_utf8(decode_utf8(bytes)));
}

bool is_utf8(std::string_view bytes) { return encode_utf8(decode_utf8(bytes)) == bytes; }

// Byte tokens side by side become text, or as many U+FFFD when they are not UTF-8.
void decode_byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto end_bytes = [&] {
    if (bytes.empty()) return;
    if (is_utf8(bytes)) out.push_back(bytes);
    else out.insert(out.end(), bytes.size(), "\uFFFD");
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = byte_of_token(token)) {
      bytes.push_back(*byte);
      continue;
    }
    end_bytes();
    out.push_back(std::move(token));
  }
  end_bytes();
  tokens = std::move(out);
}

class Metaspace final : public Decoder {
 public:
  std::string replacement;
  bool prepends = true;  // the first token begins with one that was not in the text

  Status apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], replacement, i == 0 && prepends ? "" : " ");
    return {};
  }
};

class WordPiece final : public Decoder {
 public:
  std::string prefix = "##";
  bool cleanup = true;

  Status apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i != 0) {
        if (tokens[i].starts_with(prefix)) tokens[i].erase(0, prefix.size());
        else tokens[i].insert(0, " ");
      }
      if (cleanup) clean_up(tokens[i]);
    }
    return {};
  }
};

class Replace final : public Decoder {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  Status apply(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      const std::u32string text = decode_utf8(token);
      NARROW_TRY(const std::vector<Pattern::Match> matches, pattern_.matches(text));
      if (matches.empty()) continue;
      std::string out;
      std::size_t covered = 0;
      for (const Pattern::Match& match : matches) {
        out += encode_utf8(std::u32string_view(text).substr(covered, match.begin - covered));
        out += content_;
        covered = match.end;
      }
      token = out + encode_utf8(std::u32string_view(text).substr(covered));
    }
    return {};
  }

 private:
  Pattern pattern_;
  std::string content_;
};

// So many of one character off each end of every token.
class Strip final : public Decoder {
 public:
  char32_t content = U' ';
  std::size_t start = 0, stop = 0;

  Status apply(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      const std::u32string text = decode_utf8(token);
      std::size_t begin = 0, end = text.size();
      while (begin < std::min(start, text.size()) && text[begin] == content) ++begin;
      while (end > begin && text.size() - end < stop && text[end - 1] == content) --end;
      token = encode_utf8(std::u32string_view(text).substr(begin, end - begin));
    }
    return {};
  }
};

class Ctc final : public Decoder {
 public:
  std::string pad = "<pad>", delimiter = "|";
  bool cleanup = true;

  Status apply(Tokens& tokens) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad, "");
      if (!cleanup) continue;
      clean_up(token);
      replace_all(token, delimiter, " ");
    }
    std::erase(tokens, "");
    return {};
  }
};

// Words end with a suffix.
class Bpe final : public Decoder {
 public:
  std::string suffix = "</w>";

  Status apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    return {};
  }
};

Made make_metaspace(const Fields& fields) {
  auto made = std::make_unique<Metaspace>();
  NARROW_TRY(made->replacement, fields.text_or("replacement", "\u2581"));
  NARROW_TRY(const bool prefix, fields.flag_or("add_prefix_space", true));
  NARROW_TRY(const std::string scheme, fields.text_or("prepend_scheme", prefix ? "always" : "never"));
  made->prepends = scheme != "never";
  return Made(std::move(made));
}

Made make_wordpiece(const Fields& fields) {
  auto made = std::make_unique<WordPiece>();
  NARROW_TRY(made->prefix, fields.text_or("prefix", "##"));
  NARROW_TRY(made->cleanup, fields.flag_or("cleanup", true));
  return Made(std::move(made));
}

Made make_replace(const Fields& fields) {
  NARROW_TRY(Pattern pattern, parse_pattern(fields));
  NARROW_TRY(std::string content, fields.text("content"));
  return Made(std::make_unique<Replace>(std::move(pattern), std::move(content)));
}

Made make_strip(const Fields& fields) {
  auto made = std::make_unique<Strip>();
  NARROW_TRY(const std::string content, fields.text_or("content", " "));
  const std::u32string characters = decode_utf8(content);
  if (characters.size() != 1) return corrupt(fmt::format("{}.content: '{}' is not one character", fields.where(), content));
  made->content = characters[0];
  NARROW_TRY(const std::int64_t start, fields.whole_or("start", 0));
  NARROW_TRY(const std::int64_t stop, fields.whole_or("stop", 0));
  made->start = static_cast<std::size_t>(start);
  made->stop = static_cast<std::size_t>(stop);
  return Made(std::move(made));
}

Made make_ctc(const Fields& fields) {
  auto made = std::make_unique<Ctc>();
  NARROW_TRY(made->pad, fields.text_or("pad_token", "<pad>"));
  NARROW_TRY(made->delimiter, fields.text_or("word_delimiter_token", "|"));
  NARROW_TRY(made->cleanup, fields.flag_or("cleanup", true));
  return Made(std::move(made));
}

Made make_bpe(const Fields& fields) {
  auto made = std::make_unique<Bpe>();
  NARROW_TRY(made->suffix, fields.text_or("suffix", "</w>"));
  return Made(std::move(made));
}

Made make(const Fields& fields) {
  NARROW_TRY(const DecoderKind* kind, find_kind(decoders(), fields, "decoder"));
  return kind->make(fields);
}

// Nested as deeply as parse_json lets JSON be.
Made make_sequence(const Fields& fields) {
  NARROW_TRY(const std::vector<Fields> items, fields.list("decoders"));
  std::vector<std::unique_ptr<const Decoder>> parts;
  for (const Fields& item : items) {
    NARROW_TRY(auto part, make(item));
    parts.push_back(std::move(part));
  }
  return Made(std::make_unique<Sequence>(std::move(parts)));
}

}  // namespace

std::span<const DecoderKind> decoders() {
  static constexpr DecoderKind kKinds[] = {
      {"ByteLevel", [](const Fields&) { return Made(byte_level_decoder()); }},
      {"WordPiece", make_wordpiece},
      {"Metaspace", make_metaspace},
      {"ByteFallback", [](const Fields&) { return Made(std::make_unique<Step>(decode_byte_fallback)); }},
      {"Fuse", [](const Fields&) { return Made(std::make_unique<Step>(fuse)); }},
      {"Replace", make_replace},
      {"Strip", make_strip},
      {"CTC", make_ctc},
      {"BPEDecoder", make_bpe},
      {"Sequence", make_sequence},
  };
  return kKinds;
}

Result<std::unique_ptr<const Decoder>> make_decoder(const Fields& file) {
  const auto fields = file.find("decoder");
  if (!fields) return std::unique_ptr<const Decoder>();
  return make(*fields);
}

std::unique_ptr<const Decoder> byte_level_decoder() { return std::make_unique<Step>(decode_byte_level); }
std::unique_ptr<const Decoder> wordpiece_decoder() { return std::make_unique<WordPiece>(); }

std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

}  // namespace narrow::tokenizers
