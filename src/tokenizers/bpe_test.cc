#include "tokenizers/bpe.h"

#include <gtest/gtest.h>

#include <random>

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;
using Merges = std::vector<std::pair<std::string, std::string>>;

Vocabulary letters(const std::vector<std::string>& more) {
  Vocabulary::Tokens tokens;
  for (const char c : std::string("abc")) tokens.emplace_back(std::string(1, c), tokens.size());
  for (const std::string& token : more) tokens.emplace_back(token, tokens.size());
  return Vocabulary(std::move(tokens));
}

Ids ids(const Model& model, std::string_view word) {
  Ids found;
  EXPECT_TRUE(model.tokenize(word, found).ok());
  return found;
}

TEST(Bpe, JoinsInTheOrderLearnt) {
  const auto made = make_bpe(letters({"bc", "ab", "abc"}), {{"b", "c"}, {"a", "b"}, {"ab", "c"}}, {}, "t");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(ids(**made, "abc"), (Ids{0, 3})) << "b c comes first, and a bc is no merge";
  EXPECT_EQ(ids(**made, "abab"), (Ids{4, 4}));
  EXPECT_EQ(ids(**made, "xabx"), (Ids{4})) << "without an unknown token, unknown characters are dropped";
}

TEST(Bpe, UnknownCharacters) {
  const auto vocabulary = [] { return letters({"<unk>", "<0xC3>", "<0xA9>"}); };
  BpeOptions options{.unknown = "<unk>"};
  EXPECT_EQ(ids(**make_bpe(vocabulary(), {}, options, "t"), "xya\u00E9"), (Ids{3, 3, 0, 3}));
  options.fuse_unknown = true;
  EXPECT_EQ(ids(**make_bpe(vocabulary(), {}, options, "t"), "xya\u00E9"), (Ids{3, 0, 3}));
  options.byte_fallback = true;
  EXPECT_EQ(ids(**make_bpe(vocabulary(), {}, options, "t"), "xa\u00E9\u00E8"), (Ids{3, 0, 4, 5, 3})) << "only where all its bytes are tokens";
  options = {.unknown = "?"};
  const auto without = make_bpe(letters({}), {}, options, "t");
  ASSERT_TRUE(without.ok());
  Ids none;
  EXPECT_TRUE((*without)->tokenize("abc", none).ok());
  EXPECT_EQ((*without)->tokenize("x", none).error().code(), ErrorCode::kCorrupt);
}

TEST(Bpe, PrefixSuffixAndWholeWords) {
  const auto made = make_bpe(letters({"##b", "ab", "##c</w>", "abc</w>"}), {{"a", "##b"}, {"ab", "##c</w>"}},
                             {.prefix = "##", .suffix = "</w>"}, "t");
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  EXPECT_EQ(ids(**made, "abc"), (Ids{6}));
  BpeOptions whole{.ignore_merges = true};
  EXPECT_EQ(ids(**make_bpe(letters({"cab"}), {}, whole, "t"), "cab"), (Ids{3}));
  EXPECT_EQ(ids(**make_bpe(letters({"cab"}), {}, {}, "t"), "cab"), (Ids{2, 0, 1}));
}

TEST(Bpe, MergesThatNameUnknownTokens) {
  for (const Merges& merges : {Merges{{"a", "x"}}, Merges{{"x", "a"}}, Merges{{"a", "b"}}}) {
    const auto made = make_bpe(letters({}), merges, {}, "t.json: model");
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code(), ErrorCode::kCorrupt);
    EXPECT_NE(made.error().message().find("t.json: model: merge 0"), std::string::npos);
  }
}

// The definition, at the cost of a square: join the best pair, begin again.
std::vector<std::uint32_t> naive(const MergeTable& merges, std::vector<std::uint32_t> symbols) {
  for (;;) {
    const MergeTable::Merge* best = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto* merge = merges.find(symbols[i], symbols[i + 1]);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) best = merge, at = i;
    }
    if (best == nullptr) return symbols;
    symbols[at] = best->merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, AnyLengthEqualsTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const std::uint32_t alphabet = 1 + random() % 4;
    std::uint32_t next = alphabet;
    MergeTable merges(40);
    for (std::uint32_t rank = 0; rank < 40; ++rank) merges.add(random() % next, random() % next, {rank, next}), ++next;
    for (const std::size_t length : {1u, 2u, 31u, 32u, 33u, 34u, 150u}) {
      std::vector<std::uint32_t> symbols(length);
      for (auto& symbol : symbols) symbol = random() % alphabet;
      auto joined = symbols;
      apply_merges(merges, joined);
      ASSERT_EQ(joined, naive(merges, symbols)) << round << " " << length;
    }
  }
}

TEST(Bpe, AMegabyteOfOneLetter) {
  std::vector<std::string> more;
  Merges merges;
  for (std::string run = "a"; run.size() < 1024; run += run) {
    merges.emplace_back(run, run);
    more.push_back(run + run);
  }
  const auto made = make_bpe(letters(more), merges, {}, "t");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(ids(**made, std::string(1 << 20, 'a')), Ids(1024, 12)) << "quadratic time would be minutes";
}

}  // namespace
}  // namespace narrow::tokenizers
