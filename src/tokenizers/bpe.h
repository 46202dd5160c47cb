// Byte pair encoding (Sennrich et al. 2016): a word's characters, joined pair by pair in the order in which the pairs were
// learnt.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "narrow/result.h"
#include "tokenizers/parts.h"

namespace narrow::tokenizers {

struct BpeOptions {
  std::optional<std::string> unknown;  // for characters that the vocabulary lacks; nothing: they are dropped
  std::string prefix, suffix;          // of what continues a word, and of what ends it
  bool fuse_unknown = false;           // unknown characters side by side are one token
  bool byte_fallback = false;          // unknown characters become <0x00> … <0xFF>, where the vocabulary has these
  bool ignore_merges = false;          // a word that is a token is that token, whatever the merges say
};

// Pairs of token ids that join, with the order and what they become.
class MergeTable {
 public:
  struct Merge {
    std::uint32_t rank = 0;    // the lowest first
    std::uint32_t merged = 0;  // the id
  };

  explicit MergeTable(std::size_t count);
  // Of equal pairs the last counts. No more than `count` different pairs may be added.
  void add(std::uint32_t left, std::uint32_t right, Merge merge);
  const Merge* find(std::uint32_t left, std::uint32_t right) const;
  // Calls visit(what they become) for each pair.
  template <typename Visit>
  void each(const Visit& visit) const {
    for (const Slot& slot : slots_) {
      if (slot.pair != kFree) visit(slot.merge.merged);
    }
  }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t pair = kFree;
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Slot> slots_;
};

// Joins the pair of the lowest rank, the leftmost of equals, until no pair of `symbols` joins. O(n log n).
void apply_merges(const MergeTable& merges, std::vector<std::uint32_t>& symbols);

// `merges` in the order learnt; `where` names them in messages. Errors: corrupt when a merge names or makes a token that
// the vocabulary lacks. An unknown token that it lacks is an error only for a text that needs it.
Result<std::unique_ptr<const Model>> make_bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                                              BpeOptions options, const std::string& where);

}  // namespace narrow::tokenizers
