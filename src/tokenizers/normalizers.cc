#include <algorithm>

#include "tokenizers/byte_level.h"
#include "tokenizers/charsmap.h"
#include "tokenizers/part_kinds.h"
#include "tokenizers/unicode.h"

namespace narrow::tokenizers {
namespace {

using Made = Result<std::unique_ptr<const Normalizer>>;

void strip_marks(std::u32string& text) { std::erase_if(text, is_mark_nonspacing); }

void lower(std::u32string& text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_lower(c, out);
  text = std::move(out);
}

// BERT's own: control characters go, white space becomes blanks, ideographs stand alone, accents go, letters become small.
class Bert final : public Normalizer {
 public:
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;

  Status apply(std::u32string& text) const override {
    if (clean_text) clean(text);
    if (handle_chinese_chars) set_apart(text);
    if (strip_accents) {
      decompose(text);
      strip_marks(text);
    }
    if (lowercase) lower(text);
    return {};
  }

 private:
  static void clean(std::u32string& text) {
    const auto is_blank = [](char32_t c) { return c == '\t' || c == '\n' || c == '\r'; };
    std::erase_if(text, [&](char32_t c) { return c == 0 || c == 0xFFFD || (!is_blank(c) && is_other(c)); });
    std::replace_if(text.begin(), text.end(), is_white_space, U' ');
  }

  static void set_apart(std::u32string& text) {
    if (std::none_of(text.begin(), text.end(), is_chinese)) return;
    std::u32string out;
    out.reserve(text.size() + 16);
    for (const char32_t c : text) {
      const bool chinese = is_chinese(c);
      if (chinese) out.push_back(U' ');
      out.push_back(c);
      if (chinese) out.push_back(U' ');
    }
    text = std::move(out);
  }
};

Made make_bert(const Fields& fields) {
  auto bert = std::make_unique<Bert>();
  NARROW_TRY(bert->clean_text, fields.flag_or("clean_text", true));
  NARROW_TRY(bert->handle_chinese_chars, fields.flag_or("handle_chinese_chars", true));
  NARROW_TRY(bert->lowercase, fields.flag_or("lowercase", true));
  NARROW_TRY(bert->strip_accents, fields.flag_or("strip_accents", bert->lowercase));
  return Made(std::move(bert));
}

// A normalizer that is one function.
class Step final : public Normalizer {
 public:
  explicit Step(void (*step)(std::u32string&)) : step_(step) {}
  Status apply(std::u32string& text) const override {
    step_(text);
    return {};
  }

 private:
  void (*step_)(std::u32string&);
};

// Takes out the characters of a kind.
class Without final : public Normalizer {
 public:
  explicit Without(bool (*is)(char32_t c)) : is_(is) {}
  Status apply(std::u32string& text) const override {
    std::erase_if(text, is_);
    return {};
  }
  bool cuts_start(std::u32string_view text) const override { return !text.empty() && is_(text[0]); }

 private:
  bool (*is_)(char32_t c);
};

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Normalizer>> parts) : parts_(std::move(parts)) {}
  Status apply(std::u32string& text) const override {
    for (const auto& part : parts_) NARROW_RETURN_IF_ERROR(part->apply(text));
    return {};
  }
  bool cuts_start(std::u32string_view text) const override {
    std::u32string changed(text);
    for (const auto& part : parts_) {
      if (part->cuts_start(changed)) return true;
      if (!part->apply(changed).ok()) return false;
    }
    return false;
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

// Takes white space off the ends.
class Strip final : public Normalizer {
 public:
  bool left = true, right = true;

  Status apply(std::u32string& text) const override {
    std::size_t begin = 0, end = text.size();
    while (right && end > 0 && is_white_space(text[end - 1])) --end;
    while (left && begin < end && is_white_space(text[begin])) ++begin;
    text = text.substr(begin, end - begin);
    return {};
  }
  bool cuts_start(std::u32string_view text) const override { return left && !text.empty() && is_white_space(text[0]); }
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::u32string prefix) : prefix_(std::move(prefix)) {}
  Status apply(std::u32string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return {};
  }

 private:
  std::u32string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::u32string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  Status apply(std::u32string& text) const override {
    NARROW_TRY(const std::vector<Pattern::Match> matches, pattern_.matches(text));
    if (matches.empty()) return {};
    std::u32string out;
    out.reserve(text.size());
    std::size_t covered = 0;
    for (const Pattern::Match& match : matches) {
      out.append(text, covered, match.begin - covered).append(content_);
      covered = match.end;
    }
    text = out.append(text, covered, text.npos);
    return {};
  }

 private:
  Pattern pattern_;
  std::u32string content_;
};

// SentencePiece's table of characters, as the `tokenizers` library applies it: to grapheme clusters of fewer than six bytes
// as a whole, else to their characters, the shortest entry first.
class Precompiled final : public Normalizer {
 public:
  Precompiled(Charsmap map, Pattern cluster) : map_(std::move(map)), cluster_(std::move(cluster)) {}

  Status apply(std::u32string& text) const override {
    std::string out, part;
    const auto replaced = [&](std::u32string_view characters) {
      part.clear();
      for (const char32_t c : characters) append_utf8(c, part);
      const Charsmap::Match match = characters.size() > 1 && part.size() >= kLongCluster ? Charsmap::Match{} : map_.shortest(part);
      if (match.length != 0) out += match.replacement;
      return match.length != 0;
    };
    const auto each_character = [&](std::u32string_view characters) {
      for (std::size_t i = 0; i < characters.size(); ++i) {
        if (!replaced(characters.substr(i, 1))) append_utf8(characters[i], out);
      }
    };
    // Below U+0300 clusters are single characters, but for CR LF.
    if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300 && c != '\r'; })) {
      each_character(text);
    } else {
      NARROW_TRY(const std::vector<Pattern::Match> clusters, cluster_.matches(text));
      const auto take = [&](std::size_t begin, std::size_t end) {
        const auto characters = std::u32string_view(text).substr(begin, end - begin);
        if (characters.size() == 1 || !replaced(characters)) each_character(characters);
      };
      for (Pattern::Match cluster : clusters) {
        // PCRE2 10.42 lets a pictograph join a mark before it.
        for (std::size_t i = cluster.begin + 1; i < cluster.end; ++i) {
          if (!is_mark(text[i - 1]) || continues_cluster(text[i])) continue;
          take(cluster.begin, i);
          cluster.begin = i;
        }
        take(cluster.begin, cluster.end);
      }
    }
    text = decode_utf8(out);
    return {};
  }

 private:
  static bool continues_cluster(char32_t c) {
    return is_mark(c) || c == 0x200C || c == 0x200D || c == 0xFF9E || c == 0xFF9F || (c >= 0x1F3FB && c <= 0x1F3FF) || (c >= 0xE0020 && c <= 0xE007F);
  }

  static constexpr std::size_t kLongCluster = 6;
  Charsmap map_;
  Pattern cluster_;
};

// What SentencePiece's nmt rules do: some control characters go, other blanks become blanks.
bool is_nmt_control(char32_t c) { return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F; }
bool is_nmt_blank(char32_t c) {
  return c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
         c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

void apply_byte_level(std::u32string& text) {
  std::u32string out;
  append_byte_characters(text, out);
  text = std::move(out);
}

void compose_canonical(std::u32string& text) {
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x300; })) return;  // is composed
  decompose(text);
  compose(text);
}

void compose_compatible(std::u32string& text) {
  decompose_compatible(text);
  compose(text);
}

Made step(void (*function)(std::u32string&)) { return Made(std::make_unique<Step>(function)); }

Made make_nmt(const Fields&) {
  std::vector<std::unique_ptr<const Normalizer>> parts;
  parts.push_back(std::make_unique<Without>(is_nmt_control));
  parts.push_back(std::make_unique<Step>([](std::u32string& text) { std::replace_if(text.begin(), text.end(), is_nmt_blank, U' '); }));
  return Made(std::make_unique<Sequence>(std::move(parts)));
}

Made make_strip(const Fields& fields) {
  auto made = std::make_unique<Strip>();
  NARROW_TRY(made->left, fields.flag_or("strip_left", true));
  NARROW_TRY(made->right, fields.flag_or("strip_right", true));
  return Made(std::move(made));
}

Made make_prepend(const Fields& fields) {
  NARROW_TRY(const std::string prefix, fields.text("prepend"));
  return Made(std::make_unique<Prepend>(decode_utf8(prefix)));
}

Made make_replace(const Fields& fields) {
  NARROW_TRY(Pattern pattern, parse_pattern(fields));
  NARROW_TRY(const std::string content, fields.text("content"));
  return Made(std::make_unique<Replace>(std::move(pattern), decode_utf8(content)));
}

// Padding may be missing.
Result<std::string> decode_base64(const std::string& text, const std::string& where) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    const int value = c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+' ? 62 : c == '/' ? 63 : -1;
    if (value < 0) return corrupt(fmt::format("{}: not base64", where));
    bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xFFFFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return out;
}

Made make_precompiled(const Fields& fields) {
  NARROW_TRY(const std::string encoded, fields.text_or("precompiled_charsmap", ""));
  const std::string where = fields.where() + ".precompiled_charsmap";
  NARROW_TRY(const std::string bytes, decode_base64(encoded, where));
  NARROW_TRY(Charsmap map, Charsmap::parse(bytes, where));
  NARROW_TRY(Pattern cluster, Pattern::compile("\\X", where));
  return Made(std::make_unique<Precompiled>(std::move(map), std::move(cluster)));
}

Made make(const Fields& fields) {
  NARROW_TRY(const NormalizerKind* kind, find_kind(normalizers(), fields, "normalizer"));
  return kind->make(fields);
}

// Nested as deeply as parse_json lets JSON be.
Made make_sequence(const Fields& fields) {
  NARROW_TRY(const std::vector<Fields> items, fields.list("normalizers"));
  std::vector<std::unique_ptr<const Normalizer>> parts;
  for (const Fields& item : items) {
    NARROW_TRY(auto part, make(item));
    parts.push_back(std::move(part));
  }
  return Made(std::make_unique<Sequence>(std::move(parts)));
}

}  // namespace

std::span<const NormalizerKind> normalizers() {
  static constexpr NormalizerKind kKinds[] = {
      {"BertNormalizer", make_bert},
      {"Sequence", make_sequence},
      {"Lowercase", [](const Fields&) { return step(lower); }},
      {"NFC", [](const Fields&) { return step(compose_canonical); }},
      {"NFD", [](const Fields&) { return step(decompose); }},
      {"NFKC", [](const Fields&) { return step(compose_compatible); }},
      {"NFKD", [](const Fields&) { return step(decompose_compatible); }},
      {"StripAccents", [](const Fields&) { return Made(std::make_unique<Without>(is_mark)); }},
      {"Strip", make_strip},
      {"Replace", make_replace},
      {"Prepend", make_prepend},
      {"Precompiled", make_precompiled},
      {"Nmt", make_nmt},
      {"ByteLevel", [](const Fields&) { return step(apply_byte_level); }},
  };
  return kKinds;
}

std::unique_ptr<const Normalizer> bert_normalizer() { return std::make_unique<Bert>(); }

Result<std::unique_ptr<const Normalizer>> make_normalizer(const Fields& file) {
  const auto fields = file.find("normalizer");
  if (!fields) return std::unique_ptr<const Normalizer>();
  return make(*fields);
}

}  // namespace narrow::tokenizers
