#include <algorithm>

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

class Sequence final : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Normalizer>> parts) : parts_(std::move(parts)) {}
  Status apply(std::u32string& text) const override {
    for (const auto& part : parts_) NARROW_RETURN_IF_ERROR(part->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

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
      {"Lowercase", [](const Fields&) { return Made(std::make_unique<Step>(lower)); }},
      {"NFD", [](const Fields&) { return Made(std::make_unique<Step>(decompose)); }},
      {"StripAccents", [](const Fields&) { return Made(std::make_unique<Step>(strip_marks)); }},
  };
  return kKinds;
}

Result<std::unique_ptr<const Normalizer>> make_normalizer(const Fields& file) {
  const auto fields = file.find("normalizer");
  if (!fields) return std::unique_ptr<const Normalizer>();
  return make(*fields);
}

}  // namespace narrow::tokenizers
