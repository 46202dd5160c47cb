// A unigram language model (Kudo 2018): the pieces of a word whose scores have the greatest sum.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "tokenizers/trie.h"

namespace narrow::tokenizers {

struct Segment {
  std::size_t begin = 0, end = 0;  // bytes
  std::int64_t piece = -1;         // -1: one character that no piece spells
};

// The best segmentation of `word`; of equal ones the one found first. `score(piece, length in bytes)`; a character that is
// no piece costs `unknown_score`. Sums are made in `Score`: SentencePiece's ids come from sums of floats, those of the
// `tokenizers` library from sums of doubles. Linear in the word, times the longest piece.
template <typename Score, typename ScoreOf>
std::vector<Segment> best_segmentation(const Trie& pieces, std::string_view word, Score unknown_score, const ScoreOf& score) {
  struct Node {
    Score score = 0;
    std::size_t begin = std::numeric_limits<std::size_t>::max();
    std::int64_t piece = -1;
  };
  std::vector<Node> ends(word.size() + 1);
  const auto offer = [&](std::size_t begin, std::size_t end, std::int64_t piece, Score sum) {
    Node& node = ends[end];
    if (node.begin != std::numeric_limits<std::size_t>::max() && !(sum > node.score)) return;
    node = {sum, begin, piece};
  };
  for (std::size_t at = 0, size; at < word.size(); at += size) {
    const auto lead = static_cast<unsigned char>(word[at]);
    size = std::min<std::size_t>(lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4, word.size() - at);
    const Score before = ends[at].score;
    bool single = false;
    pieces.each_prefix(word.substr(at), [&](std::size_t length, std::int64_t piece) {
      single = single || length == size;
      offer(at, at + length, piece, score(piece, length) + before);
    });
    if (!single) offer(at, at + size, -1, unknown_score + before);
  }
  std::vector<Segment> segments;
  for (std::size_t end = word.size(); end > 0; end = ends[end].begin) segments.push_back({ends[end].begin, end, ends[end].piece});
  std::reverse(segments.begin(), segments.end());
  return segments;
}

}  // namespace narrow::tokenizers
