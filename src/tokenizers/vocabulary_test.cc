#include "tokenizers/vocabulary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tokenizers/charsmap.h"
#include "tokenizers/test_charsmap.h"
#include "tokenizers/trie.h"
#include "tokenizers/word_cache.h"
#include "wire/json.h"

namespace narrow::tokenizers {
namespace {

TEST(Vocabulary, BothWays) {
  const Vocabulary vocabulary({{"a", 3}, {"b", 0}, {"", 1}, {"far", 2'000'000'000}});
  EXPECT_EQ(vocabulary.id_of("a"), 3);
  EXPECT_EQ(vocabulary.id_of(""), 1);
  EXPECT_EQ(vocabulary.id_of("far"), 2'000'000'000);
  EXPECT_EQ(vocabulary.id_of("c"), std::nullopt);
  EXPECT_EQ(vocabulary.token_of(0), "b");
  EXPECT_EQ(vocabulary.token_of(2'000'000'000), "far");
  EXPECT_EQ(vocabulary.token_of(2), std::nullopt);
  EXPECT_EQ(vocabulary.token_of(-1), std::nullopt);
  EXPECT_EQ(vocabulary.token_of(1'999'999'999), std::nullopt);
  EXPECT_EQ(vocabulary.size(), 4u);
  const Vocabulary none;
  EXPECT_EQ(none.id_of("a"), std::nullopt);
  EXPECT_EQ(none.token_of(0), std::nullopt);
}

TEST(Vocabulary, TheLastOfEqualsCounts) {
  const Vocabulary vocabulary({{"a", 1}, {"b", 1}, {"a", 2}});
  EXPECT_EQ(vocabulary.id_of("a"), 2);
  EXPECT_EQ(vocabulary.token_of(1), "b");
  EXPECT_EQ(vocabulary.size(), 2u);
}

TEST(Vocabulary, FromJson) {
  const auto parsed = [](const char* text) {
    const nlohmann::json document = nlohmann::json::parse(text);
    return Vocabulary::parse(wire::Fields(document, "vocab"));
  };
  EXPECT_EQ(parsed(R"({"a": 5})")->id_of("a"), 5);
  for (const char* wrong : {R"({"a": -1})", R"({"a": 4294967296})", R"({"a": 1.5})", R"({"a": "b"})", "[]"}) {
    EXPECT_FALSE(parsed(wrong).ok()) << wrong;
  }
  EXPECT_NE(parsed(R"({"a": -1})").error().message().find("vocab.a: -1"), std::string::npos);
}

TEST(Trie, EveryPrefix) {
  const Trie trie(std::vector<std::pair<std::string, std::int64_t>>{{"a", 1}, {"abc", 2}, {"b", 3}, {"", 4}, {"a", 5}});
  std::vector<std::pair<std::size_t, std::int64_t>> found;
  trie.each_prefix("abcd", [&](std::size_t length, std::int64_t value) { found.emplace_back(length, value); });
  EXPECT_EQ(found, (std::vector<std::pair<std::size_t, std::int64_t>>{{1, 5}, {3, 2}}));
  EXPECT_EQ(trie.longest("ab"), 1u);
  EXPECT_EQ(trie.longest("c"), 0u);
  EXPECT_EQ(Trie().longest("a"), 0u);
  EXPECT_TRUE(Trie().empty());
}

TEST(Charsmap, ShortestAndLongest) {
  const auto map = Charsmap::parse(charsmap_bytes({{"a", "1"}, {"abc", "2"}, {"b", ""}}), "t");
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->shortest("abc").length, 1u);
  EXPECT_EQ(map->longest("abc").replacement, "2");
  EXPECT_EQ(map->longest("abd").replacement, "1");
  EXPECT_EQ(map->longest("b").length, 1u);
  EXPECT_EQ(map->longest("b").replacement, "");
  EXPECT_EQ(map->longest("c").length, 0u);
  EXPECT_EQ(Charsmap().longest("a").length, 0u);
}

TEST(Charsmap, AnyBytes) {
  const std::string whole = charsmap_bytes({{"a", "1"}, {"ab", "2"}});
  for (std::size_t n = 1; n < 200; ++n) EXPECT_FALSE(Charsmap::parse(whole.substr(0, n), "t").ok()) << n;
  for (std::size_t n = 4; n < whole.size(); n += 3) {
    std::string changed = whole;
    changed[n] = '\xFF';
    const auto map = Charsmap::parse(changed, "t");
    EXPECT_TRUE(!map.ok() || map->longest("abc").length <= 3) << n;
  }
}

TEST(WordCache, KeepsShortWords) {
  WordCache cache;
  std::vector<std::int64_t> ids = {9};
  EXPECT_FALSE(cache.append("a", ids));
  cache.keep("a", std::vector<std::int64_t>{1, 2});
  cache.keep("none", {});
  cache.keep(std::string(1000, 'x'), std::vector<std::int64_t>{3});
  EXPECT_TRUE(cache.append("a", ids));
  EXPECT_TRUE(cache.append("none", ids));
  EXPECT_FALSE(cache.append(std::string(1000, 'x'), ids));
  EXPECT_EQ(ids, (std::vector<std::int64_t>{9, 1, 2}));
}

}  // namespace
}  // namespace narrow::tokenizers
