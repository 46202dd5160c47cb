#include "tokenizers/piece_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace narrow::tokenizers {
namespace {

TEST(PieceTable, AgreesWithAMapOnRandomPieces) {
  std::mt19937 random(5);
  const auto word = [&](int longest) {
    std::string text(random() % static_cast<unsigned>(longest + 1), 'a');
    for (char& c : text) c = "ab\xC3"[random() % 3];
    return text;
  };
  for (int round = 0; round < 50; ++round) {
    std::map<std::string, std::int64_t> map;
    std::vector<std::pair<std::string, std::int64_t>> pieces;
    for (int i = 0; i < round * 2; ++i) {
      pieces.emplace_back(word(6), i);
      if (!pieces.back().first.empty()) map[pieces.back().first] = i;
    }
    const PieceTable table(pieces);
    EXPECT_EQ(table.size(), map.size());
    for (int i = 0; i < 200; ++i) {
      const std::string text = word(12);
      PieceTable::Match expected;
      for (const auto& [piece, id] : map) {
        if (text.starts_with(piece) && piece.size() > expected.length) expected = {piece.size(), id};
      }
      const PieceTable::Match found = table.longest_match(text);
      EXPECT_EQ(found.length, expected.length);
      EXPECT_EQ(found.id, expected.id);
      EXPECT_EQ(table.find(text).has_value(), map.contains(text));
    }
  }
}

}  // namespace
}  // namespace narrow::tokenizers
