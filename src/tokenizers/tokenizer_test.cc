#include "tokenizers/tokenizer.h"

#include <gtest/gtest.h>

#include "tokenizers/test_tokenizer.h"

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;

std::shared_ptr<const Tokenizer> tokenizer(const std::string& extra = "") {
  auto made = parse_tokenizer(small_tokenizer(extra), "small.json");
  EXPECT_TRUE(made.ok()) << made.error().to_string();
  return *made;
}

Ids ids(const Tokenizer& t, std::string_view text, const EncodeOptions& options = {}) {
  const auto encoding = t.encode(text, options);
  EXPECT_TRUE(encoding.ok());
  EXPECT_EQ(encoding->ids.size(), encoding->type_ids.size());
  EXPECT_EQ(encoding->ids.size(), encoding->attention_mask.size());
  return encoding->ids;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Tokenizer, LongestPieceFirst) {
  const auto t = tokenizer();
  EXPECT_EQ(ids(*t, "unwanted"), (Ids{2, 5, 8, 3}));
  EXPECT_EQ(ids(*t, "unwantb"), (Ids{2, 5, 6, 15, 3}));
  EXPECT_EQ(ids(*t, "unwanted!un"), (Ids{2, 5, 8, 10, 5, 3}));
  EXPECT_EQ(ids(*t, "unwantx"), (Ids{2, 1, 3})) << "a word that cannot be spelled is unknown as a whole";
  EXPECT_EQ(ids(*t, "aaaaaaaaaaaa"), (Ids{2, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 3}));
  EXPECT_EQ(ids(*t, "aaaaaaaaaaaaa"), (Ids{2, 1, 3})) << "longer than max_input_chars_per_word";
  EXPECT_EQ(ids(*t, ""), (Ids{2, 3}));
  EXPECT_EQ(ids(*t, "un", {.special_tokens = false}), (Ids{5}));
}

TEST(Tokenizer, NormalizesAsBert) {
  const auto t = tokenizer();
  EXPECT_EQ(ids(*t, "CAF\u00C9"), (Ids{2, 4, 3}));
  EXPECT_EQ(ids(*t, "cafe\u0301"), (Ids{2, 4, 3}));
  EXPECT_EQ(ids(*t, "un\u6771un"), (Ids{2, 5, 9, 5, 3})) << "ideographs stand alone";
  EXPECT_EQ(ids(*t, "u\u00ADn\u200B \tun"), (Ids{2, 5, 5, 3})) << "format characters go, blanks of any kind separate";
  EXPECT_EQ(ids(*t, "un\xFFun\xC3"), ids(*t, "unun")) << "malformed bytes are U+FFFD, which goes";
}

TEST(Tokenizer, AddedTokensAreFoundInTheText) {
  const auto t = tokenizer();
  EXPECT_EQ(ids(*t, "un[SEP]un"), (Ids{2, 5, 3, 5, 3}));
  EXPECT_EQ(ids(*t, "don't"), (Ids{2, 17, 14, 13, 3})) << "numbered after the vocabulary, whatever the file says";
  EXPECT_EQ(ids(*t, "undon"), (Ids{2, 1, 3})) << "only as a word of its own";
  EXPECT_EQ(ids(*t, "Don"), (Ids{2, 1, 3})) << "in the text as it is written";
  EXPECT_EQ(ids(*t, "un <MASK>  un"), (Ids{2, 5, 18, 5, 3})) << "in the normalized text, blanks taken along";
}

TEST(Tokenizer, PairsTruncationPadding) {
  const auto plain = tokenizer();
  const auto pair = plain->encode("un a", "a");
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(pair->ids, (Ids{2, 5, 11, 3, 11, 3}));
  EXPECT_EQ(pair->type_ids, (Ids{0, 0, 0, 0, 1, 1}));

  const auto cut = tokenizer(R"("truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Left"},)");
  EXPECT_EQ(ids(*cut, "un a t"), (Ids{2, 11, 13, 3}));
  EXPECT_EQ(ids(*cut, "un a t", {.max_length = 3}), (Ids{2, 13, 3}));
  EXPECT_EQ(ids(*cut, "un a t", {.max_length = 100}), (Ids{2, 11, 13, 3})) << "the file's limit stays";
  EXPECT_EQ(ids(*plain, "un a t", {.max_length = 1}), (Ids{2, 3})) << "special tokens are never cut";
  const auto both = tokenizer(R"("truncation": {"max_length": 8, "strategy": "LongestFirst"},)")->encode("a a a a a a", "un");
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->ids, (Ids{2, 11, 11, 11, 11, 3, 5, 3})) << "from the longer one first";

  const auto padded = tokenizer(R"("padding": {"strategy": {"Fixed": 5}, "direction": "Left", "pad_id": 0, "pad_type_id": 7},)")->encode("a");
  ASSERT_TRUE(padded.ok());
  EXPECT_EQ(padded->ids, (Ids{0, 0, 2, 11, 3}));
  EXPECT_EQ(padded->type_ids, (Ids{7, 7, 0, 0, 0}));
  EXPECT_EQ(padded->attention_mask, (Ids{0, 0, 1, 1, 1}));
}

TEST(Tokenizer, TruncationThatCannotBeMadeIsAnError) {
  const auto second = tokenizer(R"("truncation": {"max_length": 4, "strategy": "OnlySecond"},)");
  EXPECT_TRUE(second->encode("a").ok());
  EXPECT_EQ(second->encode("a a a").error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(second->encode("a a a", "a").error().code(), ErrorCode::kInvalidArgument);
}

TEST(Tokenizer, ModelsOfOtherKinds) {
  const auto of = [](const std::string& model) {
    auto made = parse_tokenizer(R"({"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": )" + model + "}", "t.json");
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
    return *made;
  };
  const auto words = of(R"({"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"})");
  EXPECT_EQ(ids(*words, "a c b"), (Ids{0, 2, 1}));
  const auto closed = of(R"({"type": "WordLevel", "vocab": {"a": 0}})");
  EXPECT_EQ(closed->encode("a c").error().code(), ErrorCode::kCorrupt);
  const auto unigram = of(R"({"unk_id": 0, "vocab": [["?", 0], ["a", -1], ["ab", -3], ["b", -1.5], ["xy", -9]]})");  // of before it had a type
  EXPECT_EQ(ids(*unigram, "ab xyxyz za"), (Ids{1, 3, 4, 4, 0, 0, 1})) << "a and b before ab; what is unknown stays one token";
  const auto pairs = of(R"({"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["#version: 0.2", "a b"]})");
  EXPECT_EQ(ids(*pairs, "aba"), (Ids{2, 0}));
  const auto message = [](const std::string& model) {
    const auto made = parse_tokenizer(R"({"model": )" + model + "}", "t.json");
    EXPECT_FALSE(made.ok()) << model;
    return made.ok() ? "" : made.error().to_string();
  };
  EXPECT_NE(message(R"({"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []})").find("dropout"), std::string::npos);
  EXPECT_NE(message(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a  a"]})").find("merges[0]"), std::string::npos);
  EXPECT_NE(message(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]})").find("a pair of tokens"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})").find("unk_id: 1, and there are 1 pieces"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Unigram", "vocab": [["a", "b"]]})").find("a piece and its score"), std::string::npos);
  EXPECT_NE(message(R"({"type": "Unigram", "vocab": [["a", 1e999]]})").find("t.json"), std::string::npos);
}

TEST(Tokenizer, PostProcessors) {
  const auto of = [](const std::string& post) {
    auto made = parse_tokenizer(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<s>": 2, "</s>": 3}, "merges": []}, "post_processor": )" + post + "}", "t.json");
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().to_string());
    return *made;
  };
  const std::string roberta = R"({"type": "RobertaProcessing", "sep": ["</s>", 3], "cls": ["<s>", 2]})";
  EXPECT_EQ(of(roberta)->encode("a", "b")->ids, (Ids{2, 0, 3, 3, 1, 3}));
  EXPECT_EQ(of(roberta)->encode("a", "b")->type_ids, Ids(6, 0));
  EXPECT_EQ(of(R"({"type": "ByteLevel"})")->encode("a", "b")->type_ids, (Ids{0, 1}));
  EXPECT_EQ(ids(*of(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, )" + roberta + "]}"), "a"), (Ids{2, 0, 3}));
  const auto twice = parse_tokenizer(R"({"model": {"type": "BPE", "vocab": {}, "merges": []}, "post_processor": {"type": "Sequence", "processors": [)" +
                                         roberta + ", " + roberta + "]}}", "t.json");
  ASSERT_FALSE(twice.ok());
  EXPECT_EQ(twice.error().code(), ErrorCode::kUnsupported);
}

TEST(Tokenizer, SaysWhatIsWrongWithAFile) {
  const auto message = [](const std::string& json) {
    const auto made = parse_tokenizer(json, "t.json");
    EXPECT_FALSE(made.ok()) << json.substr(0, 200);
    return made.ok() ? "" : made.error().to_string();
  };
  const std::string good = small_tokenizer();
  EXPECT_NE(message("{").find("not valid JSON"), std::string::npos);
  EXPECT_NE(message("[]").find("t.json: expected an object"), std::string::npos);
  EXPECT_NE(message(std::string(100000, '[')).find("nested more than"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"WordPiece\"", "\"WordPeace\"")).find("did you mean 'WordPiece'"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"BertNormalizer\"", "\"Bort\"")).find("there is no normalizer 'Bort'"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"cafe\": 4", "\"cafe\": -4")).find("model.vocab.cafe: -4"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"cafe\": 4", "\"cafe\": 4294967296")).find("4294967296"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"?\"")).find("'?' is not in the vocabulary"), std::string::npos);
  EXPECT_NE(message(replaced(good, "{\"id\": \"A\"", "{\"id\": \"B\"")).find("single: holds the first text 0 times"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"ids\": [2]", "\"ids\": [\"x\"]")).find("ids[0]: expected a whole number"), std::string::npos);
  EXPECT_NE(message(small_tokenizer(R"("padding": {"strategy": {"Fixed": 2000000000}},)")).find("at most"), std::string::npos);
}

TEST(Tokenizer, CutOrChangedAtEveryByte) {
  const std::string whole = small_tokenizer();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(parse_tokenizer(whole.substr(0, n), "cut.json").ok());
    for (const int flip : {0x01, 0x20, 0x80}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      if (const auto made = parse_tokenizer(changed, "changed.json"); made.ok()) {
        EXPECT_TRUE((*made)->encode("un caf\u00E9 don't").ok());
      }
    }
  }
}

}  // namespace
}  // namespace narrow::tokenizers
