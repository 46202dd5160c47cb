#include "tokenizers/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "tokenizers/decoders.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"

namespace narrow::tokenizers {
namespace {

using Type = SentencePieces::Type;

constexpr float kUnknownPenalty = 10;

std::size_t character_size(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return std::min<std::size_t>(lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4, text.size() - at);
}

class Normalize final : public Normalizer {
 public:
  Normalize(const SentencePieces& from, Trie user_defined)
      : charsmap_(from.charsmap), user_defined_(std::move(user_defined)), prefix_(from.add_dummy_prefix),
        squeeze_(from.remove_extra_whitespaces), suffix_(from.whitespace_as_suffix), space_(from.escape_whitespaces ? kMetaspace : " ") {}

  Status apply(std::u32string& characters) const override {
    // A byte that is no part of a character becomes U+FFFD here, which the table of characters does not see.
    std::string text;
    for (const char32_t c : characters) {
      if (c == kMalformedByte) text.push_back(kMalformed);
      else append_utf8(c, text);
    }
    std::string out;
    std::size_t at = 0;
    const auto next = [&] {  // what stands for the text at `at`, and how long that text is
      std::string_view rest = std::string_view(text).substr(at);
      if (text[at] == kMalformed) return Charsmap::Match{1, "\uFFFD"};
      if (const std::size_t size = user_defined_.longest(rest)) return Charsmap::Match{size, rest.substr(0, size)};
      const Charsmap::Match match = charsmap_.longest(rest);
      if (match.length != 0) return match;
      const std::size_t size = character_size(text, at);
      return Charsmap::Match{size, rest.substr(0, size)};
    };
    for (; squeeze_ && at < text.size();) {
      const Charsmap::Match match = next();
      if (match.replacement != " ") break;
      at += match.length;
    }
    if (at == text.size()) {
      characters.clear();
      return {};
    }
    if (prefix_ && !suffix_) out += space_;
    bool after_space = squeeze_;
    while (at < text.size()) {
      const Charsmap::Match match = next();
      std::string_view replacement = match.replacement;
      while (after_space && replacement.starts_with(' ')) replacement.remove_prefix(1);
      for (const char c : replacement) {
        if (c == ' ') out += space_;
        else out.push_back(c);
      }
      if (!replacement.empty()) after_space = squeeze_ && replacement.ends_with(' ');
      at += match.length;
    }
    while (squeeze_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
    if (prefix_ && suffix_) out += space_;
    characters = decode_utf8(out);
    return {};
  }

 private:
  static constexpr char kMalformed = '\xFF';  // in no UTF-8
  Charsmap charsmap_;
  Trie user_defined_;
  bool prefix_, squeeze_, suffix_;
  std::string_view space_;
};

// What both algorithms share: unknown characters become bytes, or one unknown token where they stand side by side.
class Pieces : public Model {
 public:
  Pieces(Vocabulary vocabulary, const SentencePieces& from, std::int64_t unknown) : Model(std::move(vocabulary)), unknown_(unknown) {
    if (!from.byte_fallback) return;
    for (std::size_t byte = 0; byte < 256; ++byte) bytes_[byte] = *this->vocabulary().id_of(fmt::format("<0x{:02X}>", byte));
    byte_fallback_ = true;
  }

 protected:
  void add(std::int64_t id, std::string_view text, bool& after_unknown, std::vector<std::int64_t>& ids) const {
    const bool unknown = id == unknown_;
    if (unknown && byte_fallback_) {
      for (const char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
    } else if (!unknown || !after_unknown) {
      ids.push_back(id);
    }
    after_unknown = unknown;
  }

  std::int64_t unknown_;

 private:
  bool byte_fallback_ = false;
  std::array<std::int64_t, 256> bytes_{};
};

class UnigramPieces final : public Pieces {
 public:
  UnigramPieces(Vocabulary vocabulary, const SentencePieces& from, std::int64_t unknown, Trie trie)
      : Pieces(std::move(vocabulary), from, unknown), trie_(std::move(trie)) {
    for (const SentencePieces::Piece& piece : from.pieces) {
      scores_.push_back(piece.score);
      user_defined_.push_back(piece.type == Type::kUserDefined);
      if (piece.type != Type::kNormal) continue;
      lowest_ = std::min(lowest_, piece.score);
      highest_ = std::max(highest_, piece.score);
    }
  }

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    const auto score = [&](std::int64_t piece, std::size_t length) {
      const auto at = static_cast<std::size_t>(piece);
      // A user's piece costs next to nothing.
      return user_defined_[at] ? static_cast<float>(static_cast<float>(length) * highest_ - 0.1) : scores_[at];
    };
    bool after_unknown = false;
    for (const Segment& segment : best_segmentation<float>(trie_, word, lowest_ - kUnknownPenalty, score)) {
      add(segment.piece == -1 ? unknown_ : segment.piece, word.substr(segment.begin, segment.end - segment.begin), after_unknown, ids);
    }
    return {};
  }

 private:
  Trie trie_;
  std::vector<float> scores_;
  std::vector<bool> user_defined_;
  float lowest_ = std::numeric_limits<float>::max(), highest_ = std::numeric_limits<float>::min();  // scores are below zero
};

// Pairs of neighbours join when together they are a piece, that of the highest score first, the leftmost of equals.
class BpePieces final : public Pieces {
 public:
  BpePieces(Vocabulary vocabulary, const SentencePieces& from, std::int64_t unknown, Vocabulary joined, Trie user_defined)
      : Pieces(std::move(vocabulary), from, unknown), joined_(std::move(joined)), user_defined_(std::move(user_defined)) {
    for (const SentencePieces::Piece& piece : from.pieces) {
      scores_.push_back(piece.score);
      unused_.push_back(piece.type == Type::kUnused);
      has_unused_ = has_unused_ || unused_.back();
      joins_across_ = joins_across_ || has_inner_space(piece.text);
    }
    joins_across_ = joins_across_ || !joined_.id_of(kMetaspace);
  }

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    std::vector<Symbol> symbols = spell(word);
    const Halves halves = join(word, symbols);
    bool after_unknown = false;
    std::vector<std::string_view> open;  // the next is the last
    for (std::size_t i = 0; i != kNone; i = symbols[i].after) {
      open.push_back(word.substr(symbols[i].begin, symbols[i].size));
      while (!open.empty()) {
        const std::string_view text = open.back();
        open.pop_back();
        const std::int64_t id = vocabulary().id_of(text).value_or(unknown_);
        const auto made = unused_[static_cast<std::size_t>(id)] ? halves.find(text) : halves.end();
        if (made == halves.end()) {
          add(id, text, after_unknown, ids);
          continue;
        }
        open.push_back(text.substr(made->second));
        open.push_back(text.substr(0, made->second));
      }
    }
    return {};
  }

  // With pieces that fall back into what made them, all of the text counts.
  bool joins_across_words() const override { return has_unused_ || joins_across_; }

 private:
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  // Pieces that are only a step on the way to others, and the size of the first of the two that made them: at the end they
  // fall back into these.
  using Halves = std::unordered_map<std::string_view, std::size_t>;
  struct Symbol {
    std::size_t begin = 0, size = 0, before = kNone, after = kNone;
    bool whole = false;  // a user's piece, which joins nothing
  };
  struct Candidate {
    float score = 0;
    std::size_t left = 0, right = 0, size = 0;
    bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
  };

  std::vector<Symbol> spell(std::string_view word) const {
    std::vector<Symbol> symbols;
    for (std::size_t at = 0; at < word.size(); at += symbols.back().size) {
      Symbol symbol;
      symbol.begin = at;
      symbol.size = user_defined_.longest(word.substr(at));
      symbol.whole = symbol.size != 0;
      if (!symbol.whole) symbol.size = character_size(word, at);
      symbol.before = symbols.empty() ? kNone : symbols.size() - 1;
      symbol.after = at + symbol.size == word.size() ? kNone : symbols.size() + 1;
      symbols.push_back(symbol);
    }
    return symbols;
  }

  Halves join(std::string_view word, std::vector<Symbol>& symbols) const {
    Halves halves;
    std::priority_queue<Candidate> candidates;
    const auto consider = [&](std::size_t left, std::size_t right) {
      if (left == kNone || right == kNone || symbols[left].whole || symbols[right].whole) return;
      const std::string_view both = word.substr(symbols[left].begin, symbols[left].size + symbols[right].size);
      const auto id = joined_.id_of(both);
      if (!id) return;
      candidates.push({scores_[static_cast<std::size_t>(*id)], left, right, both.size()});
      if (unused_[static_cast<std::size_t>(*id)]) halves[both] = symbols[left].size;
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(i, i + 1);
    while (!candidates.empty()) {
      const Candidate top = candidates.top();
      candidates.pop();
      Symbol& left = symbols[top.left];
      Symbol& right = symbols[top.right];
      if (left.size == 0 || right.size == 0 || left.size + right.size != top.size) continue;  // one has joined another since
      left.size = top.size;
      left.after = right.after;
      if (right.after != kNone) symbols[right.after].before = top.left;
      right.size = 0;
      consider(left.before, top.left);
      consider(top.left, left.after);
    }
    return halves;
  }

  Vocabulary joined_;  // what two symbols may join to
  Trie user_defined_;
  std::vector<float> scores_;
  std::vector<bool> unused_;
  bool has_unused_ = false, joins_across_ = false;
};

// Control tokens are nothing, unknown ones a sign of their own, bytes side by side text; blanks become blanks, but the one
// that stands before every text goes.
class Decode final : public Decoder {
 public:
  explicit Decode(const SentencePieces& from)
      : unknown_surface_(from.unknown_surface), strips_(from.add_dummy_prefix || from.remove_extra_whitespaces), strips_all_(from.remove_extra_whitespaces) {
    for (const SentencePieces::Piece& piece : from.pieces) {
      if (piece.type == Type::kControl) control_.insert(piece.text);
      if (piece.type == Type::kUnknown) unknown_ = piece.text;
    }
  }

  Status apply(std::vector<std::string>& tokens) const override {
    std::string text, bytes;
    bool at_start = true, stripped = false;
    const auto end_bytes = [&] {
      text += replace_malformed(bytes);
      bytes.clear();
    };
    for (const std::string& token : tokens) {
      if (const auto byte = byte_of_token(token)) {
        bytes.push_back(*byte);
        continue;
      }
      end_bytes();
      if (stripped || !text.empty()) at_start = false;
      stripped = false;
      if (control_.contains(token)) continue;
      if (token == unknown_) {
        text += unknown_surface_;
        continue;
      }
      std::string_view rest = token;
      if (at_start && strips_ && rest.starts_with(kMetaspace)) {
        rest.remove_prefix(kMetaspace.size());
        stripped = !strips_all_;
      }
      for (std::size_t at; (at = rest.find(kMetaspace)) != rest.npos; rest.remove_prefix(at + kMetaspace.size())) {
        text.append(rest.substr(0, at)).push_back(' ');
      }
      text += rest;
    }
    end_bytes();
    tokens.assign(1, std::move(text));
    return {};
  }

 private:
  // Every byte that is no part of a character becomes U+FFFD.
  static std::string replace_malformed(std::string_view bytes) {
    std::string out;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::string_view character = bytes.substr(at, character_size(bytes, at));
      const bool whole = encode_utf8(decode_utf8(character)) == character;
      out += whole ? character : std::string_view("\uFFFD");
      at += whole ? character.size() : 1;
    }
    return out;
  }

  std::string unknown_surface_, unknown_;
  bool strips_, strips_all_;
  std::unordered_set<std::string> control_;
};

Status check(const SentencePieces& from, const std::string& where) {
  if (from.algorithm != SentencePieces::Algorithm::kBpe && from.algorithm != SentencePieces::Algorithm::kUnigram) {
    return unsupported(fmt::format("{}: a model of whole words or of single characters; BPE and Unigram are read", where));
  }
  std::size_t unknown = 0;
  for (std::size_t id = 0; id < from.pieces.size(); ++id) {
    const SentencePieces::Piece& piece = from.pieces[id];
    if (piece.text.empty() && piece.type != Type::kUnused && piece.type != Type::kControl) return corrupt(fmt::format("{}: piece {} is empty", where, id));
    if (!std::isfinite(piece.score)) return corrupt(fmt::format("{}: piece {} '{}' has the score {}", where, id, piece.text, piece.score));
    unknown += piece.type == Type::kUnknown ? 1 : 0;
  }
  if (unknown != 1) return corrupt(fmt::format("{}: {} pieces are for the unknown, expected one", where, unknown));
  return {};
}

}  // namespace

Result<TokenizerParts> sentencepiece_parts(SentencePieces from, const std::string& where) {
  NARROW_RETURN_IF_ERROR(check(from, where));
  Vocabulary::Tokens all, joined, users;
  std::int64_t unknown = 0;
  TokenizerParts parts;
  for (std::size_t i = 0; i < from.pieces.size(); ++i) {
    const SentencePieces::Piece& piece = from.pieces[i];
    const auto id = static_cast<std::int64_t>(i);
    all.emplace_back(piece.text, id);
    if (piece.type == Type::kNormal || piece.type == Type::kUserDefined || piece.type == Type::kUnused) joined.emplace_back(piece.text, id);
    if (piece.type == Type::kUserDefined) users.emplace_back(piece.text, id);
    if (piece.type == Type::kUnknown) unknown = id;
    if (piece.type == Type::kControl) parts.added.push_back({.content = piece.text, .id = id, .special = true});
  }
  Vocabulary vocabulary(std::move(all));
  for (int byte = 0; from.byte_fallback && byte < 256; ++byte) {
    const std::string token = fmt::format("<0x{:02X}>", byte);
    if (!vocabulary.id_of(token)) return corrupt(fmt::format("{}: unknown characters fall back to bytes, and there is no piece '{}'", where, token));
  }
  from.special.unknown = unknown;
  const auto trie_of = [](const Vocabulary::Tokens& tokens) { return tokens.empty() ? Trie() : Trie(tokens); };
  parts.kind = from.algorithm == SentencePieces::Algorithm::kBpe ? "BPE" : "Unigram";
  parts.normalizer = std::make_unique<Normalize>(from, trie_of(users));
  if (from.algorithm == SentencePieces::Algorithm::kUnigram) {
    // Pieces that are not used are no part of a text.
    std::erase_if(joined, [&](const auto& piece) { return from.pieces[static_cast<std::size_t>(piece.second)].type == Type::kUnused; });
    parts.model = std::make_unique<UnigramPieces>(std::move(vocabulary), from, unknown, trie_of(joined));
  } else {
    parts.model = std::make_unique<BpePieces>(std::move(vocabulary), from, unknown, Vocabulary(std::move(joined)), trie_of(users));
  }
  parts.decoder = std::make_unique<Decode>(from);
  parts.frame = Template::around(from.special.add_bos ? from.special.bos : std::nullopt, from.special.add_eos ? from.special.eos : std::nullopt);
  parts.special = from.special;
  parts.bytewise = true;
  return parts;
}

Result<std::shared_ptr<const Tokenizer>> make_sentencepiece(SentencePieces from, const std::string& where) {
  NARROW_TRY(TokenizerParts parts, sentencepiece_parts(std::move(from), where));
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace narrow::tokenizers
