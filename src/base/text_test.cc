#include "base/text.h"

#include <gtest/gtest.h>

namespace narrow::base {
namespace {

TEST(EscapeControls, TerminalSequencesAndBadUtf8BecomeHex) {
  EXPECT_EQ(escape_controls("conv\x1b[31m\n"), "conv\\x1b[31m\\x0a");
  EXPECT_EQ(escape_controls("größe/конв/層"), "größe/конв/層");
  EXPECT_EQ(escape_controls("a\xff\xc3"), "a\\xff\\xc3");           // lone bytes
  EXPECT_EQ(escape_controls("\xc0\xaf"), "\\xc0\\xaf");             // overlong form
  EXPECT_EQ(escape_controls("\xc2\x9b"), "\\xc2\\x9b");             // C1 CSI
  EXPECT_EQ(escape_controls("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");     // overlong form of three bytes
  EXPECT_EQ(escape_controls("\xed\xa0\x80"), "\\xed\\xa0\\x80");     // lone surrogate
  EXPECT_EQ(escape_controls("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  EXPECT_EQ(escape_controls("a\u202Eb"), "a\\xe2\\x80\\xaeb");       // right-to-left override
  EXPECT_EQ(escape_controls("\u2026\u2066"), "\u2026\\xe2\\x81\\xa6");
}

TEST(GlobMatch, StarsAndQuestionMarks) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("layer?/conv*", "layer1/conv_2"));
  EXPECT_FALSE(glob_match("layer?/conv*", "layer12/conv"));
  EXPECT_TRUE(glob_match("*a*b*c", "xxaxxbxxabc"));
  EXPECT_FALSE(glob_match("", "x"));
  // Exponential in naive matchers.
  EXPECT_FALSE(glob_match("a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
}

TEST(DidYouMean, NearestFirstAndNothingFar) {
  constexpr std::string_view kNames[] = {"entropy", "percentile", "min_max", "mse"};
  EXPECT_EQ(did_you_mean("entrpy", kNames), "; did you mean 'entropy'?");
  EXPECT_EQ(did_you_mean("quantile_regression", kNames), "");
}

TEST(Split, KeepsEmptyParts) {
  const auto parts = split("a,,b,", ',');
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[1], "");
  EXPECT_EQ(parts[3], "");
}

TEST(HumanBytes, Units) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(std::uint64_t{5} << 30), "5.00 GiB");
}

}  // namespace
}  // namespace narrow::base
