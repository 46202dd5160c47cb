// Strings with their ids, sorted, asked for the longest one that a text begins with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narrow::tokenizers {

class PieceTable {
 public:
  struct Match {
    std::size_t length = 0;  // in bytes; 0: none
    std::int64_t id = 0;
  };

  PieceTable() = default;
  // Empty strings are left out; of equal strings the last is kept.
  explicit PieceTable(std::vector<std::pair<std::string, std::int64_t>> pieces);

  // At most as many steps as the longest piece is long.
  Match longest_match(std::string_view text) const;
  std::optional<std::int64_t> find(std::string_view piece) const;
  std::size_t size() const { return pieces_.size(); }

 private:
  std::vector<std::pair<std::string, std::int64_t>> pieces_;
};

}  // namespace narrow::tokenizers
