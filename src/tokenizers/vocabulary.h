// Tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "narrow/result.h"

namespace narrow::wire {
class Fields;
}

namespace narrow::tokenizers {

class Vocabulary {
 public:
  using Tokens = std::vector<std::pair<std::string, std::int64_t>>;

  Vocabulary() = default;
  // Of equal tokens the last is kept; of equal ids token_of() tells the last.
  explicit Vocabulary(Tokens tokens);
  // {"token": id, …}. Errors: corrupt.
  static Result<Vocabulary> parse(const wire::Fields& object);

  std::optional<std::int64_t> id_of(std::string_view token) const;
  std::optional<std::string_view> token_of(std::int64_t id) const;
  std::size_t size() const { return count_; }
  const Tokens& tokens() const { return tokens_; }

 private:
  std::size_t slot_of(std::string_view token) const;

  Tokens tokens_;
  std::vector<std::uint32_t> slots_;  // index into tokens_ + 1, or 0; a power of two of them, at most half full
  std::vector<std::uint32_t> by_id_;  // index + 1, for ids that are not far above the number of tokens
  std::unordered_map<std::int64_t, std::uint32_t> far_ids_;
  std::size_t count_ = 0;
};

}  // namespace narrow::tokenizers
