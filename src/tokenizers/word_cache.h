// The ids of words met before.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace narrow::tokenizers {

class WordCache {
 public:
  // Appends the ids of `word`; false when it is not here.
  bool append(std::string_view word, std::vector<std::int64_t>& ids) const {
    if (word.size() > kMaxBytes) return false;
    const auto at = words_.find(word);
    if (at == words_.end()) return false;
    ids.insert(ids.end(), ids_.begin() + at->second.begin, ids_.begin() + at->second.begin + at->second.size);
    return true;
  }

  // Long words, and words that come when it is full, are not kept.
  void keep(std::string_view word, std::span<const std::int64_t> ids) {
    if (word.size() > kMaxBytes || words_.size() >= kMaxWords) return;
    words_.emplace(word, Entry{static_cast<std::uint32_t>(ids_.size()), static_cast<std::uint32_t>(ids.size())});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  static constexpr std::size_t kMaxBytes = 64, kMaxWords = 1 << 15;
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Entry {
    std::uint32_t begin = 0, size = 0;
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> words_;
  std::vector<std::int64_t> ids_;
};

}  // namespace narrow::tokenizers
