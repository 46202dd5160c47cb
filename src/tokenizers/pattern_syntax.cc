#include "tokenizers/pattern_syntax.h"

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 32
#include <pcre2.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "tokenizers/unicode.h"
#include "tokenizers/unicode_tables.h"

namespace narrow::tokenizers {
namespace {

constexpr int kMaxDepth = 64;

std::u32string widen(std::string_view ascii) { return {ascii.begin(), ascii.end()}; }
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_hex(char32_t c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A set of characters: what stands between the brackets of a PCRE2 class, or of its complement.
struct Set {
  std::u32string members;
  bool negated = false;
};

std::u32string range(char32_t first, char32_t last) {
  return widen(fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)));
}

// `base`, and the characters that PCRE2's edition of Unicode lacks, by their categories ("L Nd").
Set set_of(std::string_view base, std::string_view categories = {}) {
  Set set{widen(base)};
  for (std::size_t at = 0; at < categories.size();) {
    const std::size_t end = std::min(categories.find(' ', at), categories.size());
    const std::string_view wanted = categories.substr(at, end - at);
    for (const tables::CategoryRange& row : std::span(tables::kLaterCategories, tables::kLaterCategoriesCount)) {
      if (std::string_view(row.category).starts_with(wanted)) set.members += range(row.first, row.last);
    }
    at = end + 1;
  }
  return set;
}

struct NamedSet {
  std::string_view name, base, later;
};

constexpr std::string_view kSpace = R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr NamedSet kWordSet{"word", R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", "L M Nd"};
// Oniguruma's \w has these six, its [[:word:]] has not.
constexpr std::string_view kWordExtra = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

// Names of \p{…} besides scripts, categories and what PCRE2 knows under the same name.
// The marks that are alphabetic since Unicode 16, and the letters that are lower case.
#define NARROW_ALPHABETIC                                                                                                        \
  R"(\p{Alphabetic}\x{363}-\x{36f}\x{897}\x{c04}\x{cf3}\x{f82}-\x{f83}\x{1dd3}-\x{1de6}\x{10d69}\x{10efc}\x{11080}-\x{11081})" \
  R"(\x{11241}\x{113b8}-\x{113c0}\x{113c2}\x{113c5}\x{113c7}-\x{113ca}\x{113cc}-\x{113cd}\x{11f00}-\x{11f01}\x{11f03})"        \
  R"(\x{11f34}-\x{11f3a}\x{11f3e}-\x{11f40}\x{1611e}-\x{1612e}\x{1e08f})"
constexpr NamedSet kProperties[] = {
    {"alnum", NARROW_ALPHABETIC R"(\p{Nd})", "L Nl Nd"}, {"alpha", NARROW_ALPHABETIC, "L Nl"}, {"blank", R"(\p{Zs}\t)", ""},
    {"cntrl", R"(\p{Cc})", ""}, {"digit", R"(\p{Nd})", "Nd"}, {"space", kSpace, ""},
    {"lower", R"(\p{Lowercase}\x{10fc}\x{a7f2}-\x{a7f4}\x{ab69}\x{1e030}-\x{1e06d})", "Ll"},
    {"graph", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co})", "L M N P S Cf"},
    {"print", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs})", "L M N P S Cf"}, {"upper", R"(\p{Uppercase})", "Lu"}, kWordSet, {"xdigit", "0-9A-Fa-f", ""}, {"ascii", R"(\x{0}-\x{7f})", ""},
    {"any", R"(\x{0}-\x{10ffff})", ""}, {"han", R"(\p{sc:Han}\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})", ""},
};
#undef NARROW_ALPHABETIC

constexpr std::pair<std::string_view, std::string_view> kCategoryNames[] = {
    {"letter", "L"}, {"uppercaseletter", "Lu"}, {"lowercaseletter", "Ll"}, {"titlecaseletter", "Lt"}, {"modifierletter", "Lm"},
    {"otherletter", "Lo"}, {"mark", "M"}, {"nonspacingmark", "Mn"}, {"spacingmark", "Mc"}, {"enclosingmark", "Me"},
    {"number", "N"}, {"decimalnumber", "Nd"}, {"letternumber", "Nl"}, {"othernumber", "No"}, {"punctuation", "P"},
    {"punct", "P"}, {"connectorpunctuation", "Pc"}, {"dashpunctuation", "Pd"}, {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"}, {"initialpunctuation", "Pi"}, {"finalpunctuation", "Pf"}, {"otherpunctuation", "Po"},
    {"symbol", "S"}, {"mathsymbol", "Sm"}, {"currencysymbol", "Sc"}, {"modifiersymbol", "Sk"}, {"othersymbol", "So"},
    {"separator", "Z"}, {"spaceseparator", "Zs"}, {"lineseparator", "Zl"}, {"paragraphseparator", "Zp"}, {"other", "C"},
    {"control", "Cc"}, {"format", "Cf"}, {"privateuse", "Co"}, {"unassigned", "Cn"},
};

bool pcre2_knows(const std::u32string& pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code_32* code = pcre2_compile_32(reinterpret_cast<PCRE2_SPTR32>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &at, nullptr);
  pcre2_code_free_32(code);
  return code != nullptr;
}

// Category C or Cn: what none of the others holds.
Set unassigned(bool whole_category) {
  Set set = set_of(whole_category ? R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z})" : R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\p{Cc}\p{Cf}\p{Co}\p{Cs})",
                   whole_category ? "L M N P S Z" : "L M N P S Z C");
  set.negated = true;
  return set;
}

// The property between the braces of \p{…}, spelt in any case, with or without blanks and underscores.
std::optional<Set> property(std::u32string_view spelt) {
  std::string name;
  bool negated = false;
  for (const char32_t c : spelt) {
    if (c == '^' && name.empty()) negated = true;
    else if (c >= 0x80) return std::nullopt;
    else if (c != ' ' && c != '_' && c != '-') name.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  }
  const auto finish = [&](Set set) {
    set.negated = set.negated != negated;
    return set;
  };
  for (const NamedSet& row : kProperties) {
    if (row.name == name) return finish(set_of(row.base, row.later));
  }
  for (const auto& [long_name, short_name] : kCategoryNames) {
    std::string small(short_name);
    for (char& c : small) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if (name != long_name && name != small) continue;
    if (short_name == "C" || short_name == "Cn") return finish(unassigned(short_name == "C"));
    return finish(set_of(fmt::format("\\p{{{}}}", short_name), short_name));
  }
  for (const std::string_view form : {"\\p{{sc:{}}}", "\\p{{{}}}"}) {
    const std::u32string written = widen(fmt::format(fmt::runtime(form), name));
    if (pcre2_knows(written)) return finish(Set{written});
  }
  return std::nullopt;
}

class Translator {
 public:
  Translator(std::u32string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  Result<std::u32string> run() {
    groups_.push_back({0, 0});
    while (at_ < in_.size()) NARROW_RETURN_IF_ERROR(step());
    for (std::size_t i = 0; i < groups_.back().opened; ++i) out_ += U')';
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t begin = 0;   // in out_
    std::size_t opened = 0;  // groups opened by flags that hold until this one ends
  };
  // One character, as an expression; when it is a plain class also as a Set.
  struct Class {
    std::u32string expression;
    std::optional<Set> set;
  };

  Error wrong(std::string_view what) const {
    return corrupt(fmt::format("{}: the pattern '{}' has {} at character {}", where_, encode_utf8(in_), what, at_));
  }
  bool next_is(std::u32string_view text) const { return in_.substr(at_).starts_with(text); }

  static std::u32string written(const Set& set) {
    if (set.members.empty()) return set.negated ? U"(?s:.)" : U"(?!)";
    return (set.negated ? U"[^" : U"[") + set.members + U"]";
  }

  void atom(std::u32string_view text) {
    last_atom_ = out_.size();
    out_ += text;
  }

  Status step() {
    const char32_t c = in_[at_];
    if (c == '\\') return escape();
    if (c == '[') {
      NARROW_TRY(const Class parsed, parse_class(0));
      atom(parsed.expression);
      return {};
    }
    if (c == '(') return open_group();
    if (c == ')') {
      if (groups_.size() == 1) return wrong("a ')' without its '('");
      for (std::size_t i = 0; i < groups_.back().opened; ++i) out_ += U')';
      last_atom_ = groups_.back().begin;
      groups_.pop_back();
      out_ += U')';
      ++at_;
      return {};
    }
    if (c == '{') return braces();
    ++at_;
    if (c == '*' || c == '+' || c == '?' || c == '|') out_ += c;
    else atom(std::u32string(1, c));
    return {};
  }

  Status open_group() {
    if (groups_.size() > 4 * kMaxDepth) return wrong("groups nested too deeply");
    const std::size_t begin = out_.size();
    if (next_is(U"(?#")) {
      const std::size_t end = in_.find(U')', at_);
      if (end == in_.npos) return wrong("a comment left open");
      at_ = end + 1;
      return {};
    }
    if (next_is(U"(?~")) return unsupported(fmt::format("{}: the pattern '{}' has an absence operator (?~ …)", where_, encode_utf8(in_)));
    std::size_t end = at_ + 2;
    if (next_is(U"(?")) {
      while (end < in_.size() && (in_[end] == 'i' || in_[end] == 'm' || in_[end] == 'x' || in_[end] == '-')) ++end;
      if (end > at_ + 2 && end < in_.size() && (in_[end] == ':' || in_[end] == ')')) {
        std::u32string flags(in_.substr(at_, end - at_));
        std::replace(flags.begin(), flags.end(), U'm', U's');
        out_ += flags + U':';
        if (in_[end] == ':') groups_.push_back({begin, 0});
        else ++groups_.back().opened;
        at_ = end + 1;
        return {};
      }
    }
    groups_.push_back({begin, 0});
    for (const std::u32string_view opening : {U"(?<=", U"(?<!", U"(?:", U"(?=", U"(?!", U"(?>", U"("}) {
      if (!next_is(opening)) continue;
      out_ += opening;
      at_ += opening.size();
      break;
    }
    if (!out_.ends_with(U'(') || at_ >= in_.size() || in_[at_] != '?') return {};
    // (?<name>
    const std::size_t close = in_.find(U'>', at_);
    if (!next_is(U"?<") || close == in_.npos) return wrong("a group of an unknown kind");
    out_ += in_.substr(at_, close + 1 - at_);
    at_ = close + 1;
    return {};
  }

  // {n}, {n,}, {,m}, {n,m}, or a brace that stands for itself.
  Status braces() {
    std::size_t end = at_ + 1;
    std::u32string low, high;
    bool comma = false;
    for (; end < in_.size() && (is_digit(in_[end]) || (in_[end] == ',' && !comma)); ++end) {
      if (in_[end] == ',') comma = true;
      else (comma ? high : low).push_back(in_[end]);
    }
    if (end >= in_.size() || in_[end] != '}' || (low.empty() && high.empty())) {
      atom(U"\\{");
      ++at_;
      return {};
    }
    out_ += U'{' + (low.empty() ? U"0" : low) + (comma ? U"," : U"") + high + U'}';
    at_ = end + 1;
    if (at_ < in_.size() && in_[at_] == '+') {  // repeats it, where PCRE2 would make it possessive
      out_.insert(last_atom_, U"(?:");
      out_ += U')';
    }
    return {};
  }

  Status escape() {
    if (at_ + 1 >= in_.size()) return wrong("a backslash at its end");
    const char32_t c = in_[at_ + 1];
    if (const auto set = class_escape()) {
      atom(written(*set));
      return {};
    }
    if (c == 'p' || c == 'P') return wrong("an unknown property");
    if (c == 'b' || c == 'B') {
      const std::u32string w = U"[" + word_members() + U"]";
      atom(c == 'B' ? U"(?:(?<=" + w + U")(?=" + w + U")|(?<!" + w + U")(?!" + w + U"))"
                : U"(?:(?<=" + w + U")(?!" + w + U")|(?<!" + w + U")(?=" + w + U"))");
      at_ += 2;
      return {};
    }
    if (std::u32string_view(U"RXKAzZGk").find(c) != std::u32string_view::npos || is_digit(c)) {  // as in PCRE2
      atom(in_.substr(at_, 2));
      at_ += 2;
      return {};
    }
    NARROW_TRY(const char32_t literal, literal_escape());
    atom(code_point(literal));
    return {};
  }

  static std::u32string code_point(char32_t c) { return widen(fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(c))); }
  static std::u32string word_members() { return set_of(fmt::format("{}{}", kWordSet.base, kWordExtra), kWordSet.later).members; }

  // \s, \p{…} and their like, moving past them; nothing when the escape is none of these.
  std::optional<Set> class_escape() {
    if (at_ + 1 >= in_.size()) return std::nullopt;
    const char32_t c = in_[at_ + 1];
    const auto found = [&](Set set, bool negated) {
      at_ += 2;
      set.negated = set.negated != negated;
      return set;
    };
    switch (c) {
      case 's': case 'S': return found(set_of(kSpace), c == 'S');
      case 'd': case 'D': return found(set_of(R"(\p{Nd})", "Nd"), c == 'D');
      case 'h': case 'H': return found(set_of("0-9A-Fa-f"), c == 'H');
      case 'w': case 'W': return found(Set{word_members()}, c == 'W');
      case 'p': case 'P': break;
      default: return std::nullopt;
    }
    const std::size_t close = in_.find(U'}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == in_.npos) return std::nullopt;
    auto set = property(in_.substr(at_ + 3, close - at_ - 3));
    if (!set) return std::nullopt;
    at_ = close + 1;
    set->negated = set->negated != (c == 'P');
    return set;
  }

  // A backslash and what it makes of the character behind it.
  Result<char32_t> literal_escape() {
    if (at_ + 1 >= in_.size()) return wrong("a backslash at its end");
    const char32_t c = in_[at_ + 1];
    at_ += 2;
    const auto hex = [&](std::size_t least, std::size_t most) -> Result<char32_t> {
      char32_t value = 0;
      std::size_t count = 0;
      for (; count < most && at_ < in_.size() && is_hex(in_[at_]); ++count, ++at_) {
        const char32_t digit = in_[at_];
        value = value * 16 + (is_digit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10);
      }
      if (count < least || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return wrong("no such character");
      return value;
    };
    switch (c) {
      case 'n': return U'\n';
      case 'r': return U'\r';
      case 't': return U'\t';
      case 'f': return U'\f';
      case 'v': return U'\v';
      case 'a': return U'\a';
      case 'e': return char32_t{0x1B};
      case '0': return U'\0';
      case 'u': return hex(4, 4);
      case 'x': break;
      default: return c;
    }
    if (at_ >= in_.size() || in_[at_] != '{') return hex(0, 2);
    ++at_;
    NARROW_TRY(const char32_t value, hex(1, 8));
    if (at_ >= in_.size() || in_[at_] != '}') return wrong("\\x{ left open");
    ++at_;
    return value;
  }

  // [:alpha:] or [:^alpha:], moving past it.
  std::optional<Set> posix_bracket() {
    const std::size_t close = in_.find(U":]", at_);
    if (!next_is(U"[:") || close == in_.npos) return std::nullopt;
    std::u32string_view name = in_.substr(at_ + 2, close - at_ - 2);
    const bool negated = name.starts_with(U'^');
    if (negated) name.remove_prefix(1);
    std::optional<Set> set;
    if (name == U"punct") set = set_of(R"(\p{P}\p{S})", "P S");
    else if (std::all_of(name.begin(), name.end(), is_letter)) set = property(name);
    if (!set) return std::nullopt;
    at_ = close + 2;
    set->negated = set->negated != negated;
    return set;
  }

  static Class make_class(std::u32string members, std::vector<std::u32string> nested) {
    if (nested.empty()) {
      Set set{std::move(members)};
      return {written(set), set};
    }
    std::u32string all = U"(?:";
    if (!members.empty()) all += U"[" + members + U"]|";
    for (std::size_t i = 0; i < nested.size(); ++i) all += (i == 0 ? U"" : U"|") + nested[i];
    return {all + U")", std::nullopt};
  }

  static Class negate(Class c) {
    if (c.set) {
      c.set->negated = !c.set->negated;
      c.expression = written(*c.set);
      return c;
    }
    return {U"(?:(?!" + c.expression + U")(?s:.))", std::nullopt};
  }

  // From '[' to its ']'.
  Result<Class> parse_class(int depth) {
    if (depth > kMaxDepth) return wrong("classes nested too deeply");
    ++at_;
    const bool negated = at_ < in_.size() && in_[at_] == '^';
    if (negated) ++at_;
    std::vector<Class> operands;  // of &&
    std::u32string members;
    std::vector<std::u32string> nested;
    const auto add = [&](const Set& set) {
      if (set.negated) nested.push_back(written(set));
      else members += set.members;
    };
    for (bool first = true;; first = false) {
      if (at_ >= in_.size()) return wrong("a class left open");
      const char32_t c = in_[at_];
      if (c == ']' && !first) break;
      if (next_is(U"&&")) {
        operands.push_back(make_class(std::move(members), std::move(nested)));
        members.clear();
        nested.clear();
        at_ += 2;
        continue;
      }
      if (c == '[') {
        if (const auto set = posix_bracket()) {
          add(*set);
          continue;
        }
        NARROW_TRY(Class inner, parse_class(depth + 1));
        if (inner.set) add(*inner.set);
        else nested.push_back(std::move(inner.expression));
        continue;
      }
      if (c == '\\') {
        if (const auto set = class_escape()) {
          add(*set);
          continue;
        }
        if (at_ + 1 < in_.size() && (in_[at_ + 1] == 'p' || in_[at_ + 1] == 'P')) return wrong("an unknown property");
      }
      NARROW_TRY(const char32_t low, class_literal());
      members += code_point(low);
      if (at_ + 1 < in_.size() && in_[at_] == '-' && in_[at_ + 1] != ']' && in_[at_ + 1] != '[') {
        const std::size_t dash = at_++;
        if (in_[at_] == '\\' && class_escape()) {  // [a-\d]: the dash is itself
          at_ = dash;
          members += U"\\x{2d}";
          ++at_;
          continue;
        }
        NARROW_TRY(const char32_t high, class_literal());
        if (high < low) return wrong("a range that runs backwards");
        members += U'-' + code_point(high);
      }
    }
    ++at_;
    Class result = make_class(std::move(members), std::move(nested));
    if (!operands.empty()) {
      operands.push_back(std::move(result));
      std::u32string all = U"(?:";
      for (std::size_t i = 0; i + 1 < operands.size(); ++i) all += U"(?=" + operands[i].expression + U")";
      result = {all + operands.back().expression + U")", std::nullopt};
    }
    return negated ? negate(std::move(result)) : std::move(result);
  }

  Result<char32_t> class_literal() {
    if (in_[at_] != '\\') return in_[at_++];
    if (at_ + 1 < in_.size() && in_[at_ + 1] == 'b') {
      at_ += 2;
      return U'\b';
    }
    return literal_escape();
  }

  std::u32string_view in_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::u32string out_;
  std::size_t last_atom_ = 0;
  std::vector<Group> groups_;
};

}  // namespace

Result<std::u32string> to_pcre2(std::u32string_view pattern, const std::string& where) { return Translator(pattern, where).run(); }

}  // namespace narrow::tokenizers
