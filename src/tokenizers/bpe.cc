#include "tokenizers/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <queue>

#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

// Short words: all pairs are looked at for every merge.
void apply_merges_by_scanning(const MergeTable& merges, std::vector<std::uint32_t>& symbols) {
  constexpr MergeTable::Merge kNoMerge{std::numeric_limits<std::uint32_t>::max(), 0};
  const auto merge_at = [&](std::size_t i) {
    const MergeTable::Merge* merge = i + 1 < symbols.size() ? merges.find(symbols[i], symbols[i + 1]) : nullptr;
    return merge == nullptr ? kNoMerge : *merge;
  };
  std::vector<MergeTable::Merge> pairs;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) pairs.push_back(merge_at(i));
  while (!pairs.empty()) {
    const auto best = std::min_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.rank < b.rank; });
    if (best->rank == kNoMerge.rank) return;
    const auto at = static_cast<std::size_t>(best - pairs.begin());
    symbols[at] = best->merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    pairs.erase(best);
    if (at < pairs.size()) pairs[at] = merge_at(at);
    if (at != 0) pairs[at - 1] = merge_at(at - 1);
  }
}

// Long ones: the pairs that may join wait in a heap; symbols are a linked list.
void apply_merges_by_heap(const MergeTable& merges, std::vector<std::uint32_t>& symbols) {
  struct Link {
    std::size_t before, after;
    bool gone = false;
  };
  struct Candidate {
    std::uint32_t rank, merged;
    std::size_t at;
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  const std::size_t count = symbols.size();
  std::vector<Link> links(count);
  for (std::size_t i = 0; i < count; ++i) links[i] = {i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};

  std::vector<Candidate> first;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (const auto* merge = merges.find(symbols[i], symbols[i + 1])) first.push_back({merge->rank, merge->merged, i});
  }
  std::priority_queue<Candidate> candidates(std::less<Candidate>(), std::move(first));
  const auto consider = [&](std::size_t at) {
    if (at == kNone || links[at].after == kNone) return;
    if (const auto* merge = merges.find(symbols[at], symbols[links[at].after])) candidates.push({merge->rank, merge->merged, at});
  };
  while (!candidates.empty()) {
    const Candidate top = candidates.top();
    candidates.pop();
    Link& link = links[top.at];
    if (link.gone || link.after == kNone) continue;
    const auto* merge = merges.find(symbols[top.at], symbols[link.after]);
    if (merge == nullptr || merge->merged != top.merged) continue;  // one of the two has joined another since
    symbols[top.at] = top.merged;
    links[link.after].gone = true;
    link.after = links[link.after].after;
    if (link.after != kNone) links[link.after].before = top.at;
    consider(link.before);
    consider(top.at);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!links[i].gone) symbols[kept++] = symbols[i];
  }
  symbols.resize(kept);
}

class Bpe final : public Model {
 public:
  Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
      : Model(std::move(vocabulary)), merges_(std::move(merges)), options_(std::move(options)) {
    if (options_.unknown) unknown_ = this->vocabulary().id_of(*options_.unknown);
    for (int byte = 0; byte < 256; ++byte) bytes_[static_cast<std::size_t>(byte)] = this->vocabulary().id_of(fmt::format("<0x{:02X}>", byte));
    plain_ = options_.prefix.empty() && options_.suffix.empty();
    joins_across_words_ = !plain_ || options_.ignore_merges || !this->vocabulary().id_of(kMetaspace);
    merges_.each([&](std::uint32_t merged) {
      const auto token = this->vocabulary().token_of(merged);
      joins_across_words_ = joins_across_words_ || !token || has_inner_space(*token);
    });
  }

  Status tokenize(std::string_view word, std::vector<std::int64_t>& ids) const override {
    if (options_.ignore_merges) {
      if (const auto id = vocabulary().id_of(word)) {
        ids.push_back(*id);
        return {};
      }
    }
    std::vector<std::uint32_t> symbols;
    NARROW_RETURN_IF_ERROR(spell(word, symbols));
    apply_merges(merges_, symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
    return {};
  }

  bool joins_across_words() const override { return joins_across_words_; }

 private:
  // The ids of single characters.
  Status spell(std::string_view word, std::vector<std::uint32_t>& symbols) const {
    bool waiting = false;  // an unknown token that the next unknown character may join
    std::string longer;
    for (std::size_t at = 0, size; at < word.size(); at += size) {
      const auto lead = static_cast<unsigned char>(word[at]);
      size = std::min<std::size_t>(lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4, word.size() - at);
      std::string_view character = word.substr(at, size);
      if (!plain_) {
        longer.clear();
        if (at != 0) longer += options_.prefix;
        longer += character;
        if (at + size == word.size()) longer += options_.suffix;
        character = longer;
      }
      if (const auto id = vocabulary().id_of(character)) {
        if (waiting) symbols.push_back(static_cast<std::uint32_t>(*unknown_));
        waiting = false;
        symbols.push_back(static_cast<std::uint32_t>(*id));
        continue;
      }
      const auto has_byte = [&](char c) { return bytes_[static_cast<unsigned char>(c)].has_value(); };
      if (options_.byte_fallback && std::all_of(character.begin(), character.end(), has_byte)) {
        for (const char c : character) symbols.push_back(static_cast<std::uint32_t>(*bytes_[static_cast<unsigned char>(c)]));
        continue;
      }
      if (!options_.unknown) continue;
      if (!unknown_) {
        return corrupt(fmt::format("the text has '{}', which the tokenizer does not know, and its unknown token '{}' is not in its vocabulary",
                                   character, *options_.unknown));
      }
      if (waiting && !options_.fuse_unknown) symbols.push_back(static_cast<std::uint32_t>(*unknown_));
      waiting = true;
    }
    if (waiting) symbols.push_back(static_cast<std::uint32_t>(*unknown_));
    return {};
  }

  MergeTable merges_;
  BpeOptions options_;
  std::optional<std::int64_t> unknown_;
  std::array<std::optional<std::int64_t>, 256> bytes_;
  bool plain_ = true;  // no prefix or suffix
  bool joins_across_words_ = true;
};

// "a b" or ["a", "b"]
Result<std::pair<std::string, std::string>> parse_merge(const Fields& list, const nlohmann::json& item, std::size_t index) {
  const auto where = [&] { return Fields(item, fmt::format("{}[{}]", list.where(), index)); };
  if (item.is_string()) {
    const auto& text = item.get_ref<const std::string&>();
    const std::size_t blank = text.find(' ');
    if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
      return corrupt(fmt::format("{}: '{}' is not two tokens with a blank between them", where().where(), text));
    }
    return std::pair(text.substr(0, blank), text.substr(blank + 1));
  }
  if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_string()) return where().wrong("a pair of tokens");
  return std::pair(item[0].get<std::string>(), item[1].get<std::string>());
}

}  // namespace

MergeTable::MergeTable(std::size_t count) : slots_(std::bit_ceil(2 * count + 2)) {}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 32;
  std::size_t at = hash & mask;
  while (slots_[at].pair != pair && slots_[at].pair != kFree) at = (at + 1) & mask;
  return at;
}

void MergeTable::add(std::uint32_t left, std::uint32_t right, Merge merge) {
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  slots_[slot_of(pair)] = {pair, merge};
}

const MergeTable::Merge* MergeTable::find(std::uint32_t left, std::uint32_t right) const {
  const std::uint64_t pair = std::uint64_t{left} << 32 | right;
  const Slot& slot = slots_[slot_of(pair)];
  return slot.pair == pair ? &slot.merge : nullptr;
}

void apply_merges(const MergeTable& merges, std::vector<std::uint32_t>& symbols) {
  constexpr std::size_t kShort = 32;
  if (symbols.size() <= kShort) apply_merges_by_scanning(merges, symbols);
  else apply_merges_by_heap(merges, symbols);
}

Result<std::unique_ptr<const Model>> make_bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                                              BpeOptions options, const std::string& where) {
  MergeTable table(merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined.assign(left).append(right, std::min(options.prefix.size(), right.size()));
    std::uint32_t ids[3];
    const std::string_view parts[] = {left, right, joined};
    for (int i = 0; i < 3; ++i) {
      const auto id = vocabulary.id_of(parts[i]);
      if (!id) {
        return corrupt(fmt::format("{}: merge {} of '{}' and '{}' needs the token '{}', which is not in the vocabulary", where, rank,
                                   left, right, parts[i]));
      }
      ids[i] = static_cast<std::uint32_t>(*id);
    }
    table.add(ids[0], ids[1], {static_cast<std::uint32_t>(rank), ids[2]});
  }
  return std::unique_ptr<const Model>(std::make_unique<Bpe>(std::move(vocabulary), std::move(table), std::move(options)));
}

Result<std::unique_ptr<const Model>> make_bpe(const Fields& model) {
  if (model.has("dropout") && model.value()["dropout"] != 0.0) {
    return unsupported(fmt::format("{}.dropout: merges left out at random would make the ids differ from run to run", model.where()))
        .hint("Set \"dropout\" to null: it is for training only.");
  }
  NARROW_TRY(const Fields vocab, model.object("vocab"));
  NARROW_TRY(Vocabulary vocabulary, Vocabulary::parse(vocab));
  BpeOptions options;
  if (model.has("unk_token")) {
    NARROW_TRY(options.unknown, model.text("unk_token"));
  }
  NARROW_TRY(options.prefix, model.text_or("continuing_subword_prefix", ""));
  NARROW_TRY(options.suffix, model.text_or("end_of_word_suffix", ""));
  NARROW_TRY(options.fuse_unknown, model.flag_or("fuse_unk", false));
  NARROW_TRY(options.byte_fallback, model.flag_or("byte_fallback", false));
  NARROW_TRY(options.ignore_merges, model.flag_or("ignore_merges", false));
  const auto list = model.find("merges");
  std::vector<std::pair<std::string, std::string>> merges;
  if (list) {
    if (!list->value().is_array()) return list->wrong("a list");
    merges.reserve(list->value().size());
    for (const nlohmann::json& item : list->value()) {
      if (item.is_string() && item.get_ref<const std::string&>().starts_with("#version")) continue;
      NARROW_TRY(auto merge, parse_merge(*list, item, merges.size()));
      merges.push_back(std::move(merge));
    }
  }
  return make_bpe(std::move(vocabulary), merges, std::move(options), model.where());
}

}  // namespace narrow::tokenizers
