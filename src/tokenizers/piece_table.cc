#include "tokenizers/piece_table.h"

#include <algorithm>

namespace narrow::tokenizers {

PieceTable::PieceTable(std::vector<std::pair<std::string, std::int64_t>> pieces) : pieces_(std::move(pieces)) {
  std::erase_if(pieces_, [](const auto& piece) { return piece.first.empty(); });
  std::stable_sort(pieces_.begin(), pieces_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // unique() keeps the first of a run, so it is run from the back.
  const auto kept = std::unique(pieces_.rbegin(), pieces_.rend(), [](const auto& a, const auto& b) { return a.first == b.first; });
  pieces_.erase(pieces_.begin(), kept.base());
}

PieceTable::Match PieceTable::longest_match(std::string_view text) const {
  // [low, high) are the pieces that begin with the first `length` bytes of the text; the piece of exactly these bytes, if
  // there is one, is the first of them.
  Match best;
  auto low = pieces_.begin(), high = pieces_.end();
  for (std::size_t length = 0; length < text.size() && low != high; ++length) {
    const auto wanted = static_cast<unsigned char>(text[length]);
    const auto next_byte = [&](const auto& piece) {
      return piece.first.size() <= length ? -1 : static_cast<int>(static_cast<unsigned char>(piece.first[length]));
    };
    low = std::partition_point(low, high, [&](const auto& piece) { return next_byte(piece) < wanted; });
    high = std::partition_point(low, high, [&](const auto& piece) { return next_byte(piece) == wanted; });
    if (low != high && low->first.size() == length + 1) best = {length + 1, low->second};
  }
  return best;
}

std::optional<std::int64_t> PieceTable::find(std::string_view piece) const {
  const auto at = std::lower_bound(pieces_.begin(), pieces_.end(), piece, [](const auto& a, std::string_view b) { return a.first < b; });
  if (at == pieces_.end() || at->first != piece) return std::nullopt;
  return at->second;
}

}  // namespace narrow::tokenizers
