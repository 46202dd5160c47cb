// Strings with values, asked for every one that a text begins with. One probe of a hash table a byte.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace narrow::tokenizers {

class Trie {
 public:
  Trie() = default;
  // Empty strings are left out; of equal strings the last is kept.
  explicit Trie(std::span<const std::pair<std::string, std::int64_t>> strings) {
    std::size_t bytes = 1;
    for (const auto& [text, value] : strings) bytes += text.size();
    edges_.resize(std::bit_ceil(2 * bytes));
    values_.push_back(kNone);
    for (const auto& [text, value] : strings) {
      if (text.empty()) continue;
      std::uint32_t node = 0;
      for (const char c : text) {
        Edge& edge = edges_[slot_of(node, c)];
        if (edge.child == 0) {
          edge = {key_of(node, c), static_cast<std::uint32_t>(values_.size())};
          values_.push_back(kNone);
        }
        node = edge.child;
      }
      values_[node] = value;
    }
  }

  bool empty() const { return edges_.empty(); }

  // Calls visit(length in bytes, value) for each of the strings that `text` begins with, the shortest first.
  template <typename Visit>
  void each_prefix(std::string_view text, const Visit& visit) const {
    if (edges_.empty()) return;
    std::uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = edges_[slot_of(node, text[i])].child;
      if (node == 0) return;
      if (values_[node] != kNone) visit(i + 1, values_[node]);
    }
  }

  // Length of the longest of them; 0: none.
  std::size_t longest(std::string_view text) const {
    std::size_t length = 0;
    each_prefix(text, [&](std::size_t size, std::int64_t) { length = size; });
    return length;
  }

 private:
  static constexpr std::int64_t kNone = -1;
  struct Edge {
    std::uint64_t key = 0;
    std::uint32_t child = 0;  // 0: free, the root is nobody's child
  };
  static std::uint64_t key_of(std::uint32_t node, char c) { return std::uint64_t{node} << 8 | static_cast<unsigned char>(c); }
  std::size_t slot_of(std::uint32_t node, char c) const {
    const std::uint64_t key = key_of(node, c);
    const std::size_t mask = edges_.size() - 1;
    std::uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    std::size_t at = hash & mask;
    while (edges_[at].child != 0 && edges_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  std::vector<Edge> edges_;
  std::vector<std::int64_t> values_;
};

}  // namespace narrow::tokenizers
