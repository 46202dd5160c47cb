// Text to token ids and back, as a Hugging Face tokenizer.json says.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/decoders.h"
#include "tokenizers/parts.h"
#include "tokenizers/word_cache.h"

namespace narrow::tokenizers {

// What a transformer reads: three rows of equal length.
struct Encoding {
  std::vector<std::int64_t> ids, type_ids, attention_mask;
};

enum class Side { kLeft, kRight };

struct Truncation {
  enum class Strategy { kLongestFirst, kOnlyFirst, kOnlySecond };
  std::size_t max_length = 0;  // special tokens included
  Strategy strategy = Strategy::kLongestFirst;
  Side side = Side::kRight;    // where tokens are cut off
};

struct Padding {
  std::optional<std::size_t> fixed;  // nothing: no longer than the longest of a batch, and a batch is one text here
  std::size_t multiple_of = 0;
  Side side = Side::kRight;
  std::int64_t id = 0, type_id = 0;
};

// Everything that the file says.
struct TokenizerParts {
  std::string kind;                                   // "BPE"
  std::unique_ptr<const Normalizer> normalizer;       // may be null
  std::unique_ptr<const PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<const Model> model;
  std::unique_ptr<const Decoder> decoder;             // may be null
  std::vector<AddedToken> added;
  AddedTokens in_text, in_normalized_text;
  Template frame;
  SpecialIds special;
  bool bytewise = false;                              // the normalizer takes what decode_utf8_bytewise() gives
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
};

// Over what the file says about lengths.
struct EncodeOptions {
  bool special_tokens = true;
  bool padding = true;                     // false: never
  std::optional<std::size_t> max_length;   // no longer than this either; 0 is no limit
};

// Any number of threads may encode at once.
class Tokenizer {
 public:
  explicit Tokenizer(TokenizerParts parts);

  // Malformed UTF-8 counts as U+FFFD. Errors: invalid_argument when the truncation that the file asks for cannot be made
  // (of a second text, where there is one).
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options = {}) const;
  Result<Encoding> encode(std::string_view first, std::string_view second, const EncodeOptions& options = {}) const;

  // The text of tokens; ids that are no token are left out, and with `skip_special` the special tokens.
  // Errors: resource_exhausted.
  Result<std::string> decode(std::span<const std::int64_t> ids, bool skip_special = true) const;
  std::optional<std::string_view> token_of(std::int64_t id) const;
  std::optional<std::int64_t> id_of(std::string_view token) const;
  bool is_special(std::int64_t id) const;
  // One more than the greatest id.
  std::size_t id_count() const;

  const TokenizerParts& parts() const { return parts_; }

 private:
  struct Scratch {
    Words words;
    std::string word;
    WordCache* cache = nullptr;
  };
  Result<std::vector<std::int64_t>> tokens_of(std::string_view text) const;
  Status append_word(std::string_view word, WordCache* cache, std::vector<std::int64_t>& ids) const;
  Status append_tokens(const Words::Word& text, Scratch& scratch, std::vector<std::int64_t>& ids) const;
  Result<Encoding> finish(std::vector<std::int64_t> first, std::vector<std::int64_t>* second, const EncodeOptions& options) const;

  TokenizerParts parts_;
  std::unordered_map<std::int64_t, std::size_t> added_by_id_;  // index into parts_.added
  std::unordered_set<std::string_view> special_;               // their contents
  mutable std::mutex cache_mutex_;
  mutable WordCache cache_;
};

// The algorithm at the heart of a tokenizer.
struct TokenizerKind {
  std::string_view name, summary;
  Result<std::unique_ptr<const Model>> (*make)(const Fields& model);
};

std::span<const TokenizerKind> tokenizer_kinds();  // the table: tokenizers.cc

// `where` names the file in messages. Errors: corrupt; unsupported, naming the part that is not known.
Result<std::shared_ptr<const Tokenizer>> parse_tokenizer(std::string_view json, const std::string& where);
Result<TokenizerParts> parse_tokenizer_parts(std::string_view json, const std::string& where);
Result<TokenizerParts> parse_tokenizer_parts(const Fields& file);

// A tokenizer.json, a SentencePiece model (tokenizer.model), a GGUF file, llama2.c's tokenizer.bin, GPT-2's vocab.json with
// merges.txt beside it, or a folder that holds one of them. Which tokens begin and end a text comes also from
// tokenizer_config.json beside it. Errors: not_found, corrupt, unsupported.
Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const std::string& path);

// The file in `folder` that read_tokenizer() would take; nothing when there is none.
std::optional<std::string> find_tokenizer(const std::string& folder);

// The most tokens that the model takes, as tokenizer_config.json beside the tokenizer says, else kUsualMaxLength.
inline constexpr std::size_t kUsualMaxLength = 512;
Result<std::size_t> read_max_length(const std::string& tokenizer_path);

}  // namespace narrow::tokenizers
