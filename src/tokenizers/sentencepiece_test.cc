#include "tokenizers/sentencepiece.h"

#include <gtest/gtest.h>

#include <bit>

#include "tokenizers/test_charsmap.h"
#include "wire/protobuf.h"

namespace narrow::tokenizers {
namespace {

using Ids = std::vector<std::int64_t>;
using Type = SentencePieces::Type;

// <unk> 0, <s> 1, </s> 2, then these.
SentencePieces model_of(SentencePieces::Algorithm algorithm, std::vector<SentencePieces::Piece> pieces) {
  SentencePieces model;
  model.algorithm = algorithm;
  model.pieces = {{"<unk>", 0, Type::kUnknown}, {"<s>", 0, Type::kControl}, {"</s>", 0, Type::kControl}};
  model.pieces.insert(model.pieces.end(), pieces.begin(), pieces.end());
  return model;
}

SentencePieces bpe() {
  // "ab" is learnt before "bc"; "_" stands for the blank.
  return model_of(SentencePieces::Algorithm::kBpe,
                  {{"\u2581", -10}, {"a", -11}, {"b", -12}, {"c", -13}, {"ab", -1}, {"bc", -2}, {"\u2581ab", -3}, {"abc", -4}});
}

std::shared_ptr<const Tokenizer> made(SentencePieces model) {
  auto tokenizer = make_sentencepiece(std::move(model), "t.model");
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().to_string());
  return tokenizer.ok() ? *tokenizer : nullptr;
}

Ids ids(const SentencePieces& model, std::string_view text) {
  const auto encoding = made(model)->encode(text);
  EXPECT_TRUE(encoding.ok());
  return encoding->ids;
}

TEST(SentencePiece, JoinsByScores) {
  EXPECT_EQ(ids(bpe(), "abc"), (Ids{9, 6})) << "ab, then with the blank before it; abc comes too late";
  EXPECT_EQ(ids(bpe(), "cab bc"), (Ids{3, 6, 7, 3, 8}));
  EXPECT_EQ(ids(bpe(), "xyab"), (Ids{3, 0, 7})) << "unknown characters side by side are one token";
  EXPECT_EQ(ids(bpe(), ""), Ids{});
  SentencePieces framed = bpe();
  framed.special = {.bos = 1, .eos = 2, .add_bos = true, .add_eos = true};
  EXPECT_EQ(ids(framed, "ab"), (Ids{1, 9, 2}));
}

TEST(SentencePiece, LongTextsTakeTimeInProportion) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += "abc";
  EXPECT_EQ(ids(bpe(), text).size(), 300'001u) << "quadratic time would be minutes";
}

TEST(SentencePiece, UnusedPiecesFallBackIntoWhatMadeThem) {
  SentencePieces model = bpe();
  model.pieces[9].type = Type::kUnused;  // "▁ab"
  EXPECT_EQ(ids(model, "ab"), (Ids{3, 7}));
  model.pieces[7].type = Type::kUnused;  // "ab" as well
  EXPECT_EQ(ids(model, "ab"), (Ids{3, 4, 5}));
}

TEST(SentencePiece, UsersPiecesStayWhole) {
  SentencePieces model = bpe();
  model.pieces.push_back({"ca", 0, Type::kUserDefined});
  EXPECT_EQ(ids(model, "abcab"), (Ids{9, 11, 5})) << "b c a b would join otherwise";
  model.algorithm = SentencePieces::Algorithm::kUnigram;
  EXPECT_EQ(ids(model, "cab"), (Ids{3, 11, 5})) << "which costs less than c and ab";
}

TEST(SentencePiece, Unigram) {
  const auto model = model_of(SentencePieces::Algorithm::kUnigram, {{"\u2581", -2}, {"a", -3}, {"b", -3}, {"ab", -5}, {"aba", -8.5}, {"ba", -5.5}});
  EXPECT_EQ(ids(model, "ab"), (Ids{3, 6}));
  EXPECT_EQ(ids(model, "aba"), (Ids{3, 6, 4})) << "-5 - 3 before -8.5 and -3 - 5.5";
  EXPECT_EQ(ids(model, "axxb"), (Ids{3, 4, 0, 5}));
}

TEST(SentencePiece, BytesForTheUnknown) {
  SentencePieces model = bpe();
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    model.pieces.push_back({name, 0, Type::kByte});
  }
  model.byte_fallback = true;
  EXPECT_EQ(ids(model, "\u00E9ab"), (Ids{3, 11 + 0xC3, 11 + 0xA9, 7}));
  EXPECT_EQ(*made(model)->decode(Ids{3, 11 + 0xC3, 11 + 0xA9, 7}), "\u00E9ab");
  EXPECT_EQ(*made(model)->decode(Ids{11 + 0xC3, 11 + 'a', 11 + 0xE6, 11 + 0x9D, 4}), "\uFFFDa\uFFFD\uFFFDa") << "each byte for itself";
  model.pieces.pop_back();
  const auto missing = make_sentencepiece(model, "t.model");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message().find("no piece '<0xFF>'"), std::string::npos);
}

TEST(SentencePiece, BlanksAreNormalized) {
  SentencePieces model = bpe();
  EXPECT_EQ(ids(model, "  ab   c  "), (Ids{9, 3, 6})) << "one between words, none around them";
  EXPECT_EQ(ids(model, "   "), Ids{});
  model.remove_extra_whitespaces = false;
  EXPECT_EQ(ids(model, " ab  c "), (Ids{3, 9, 3, 3, 6, 3}));
  model.add_dummy_prefix = false;
  EXPECT_EQ(ids(model, "ab"), (Ids{7}));
  model.whitespace_as_suffix = model.add_dummy_prefix = true;
  EXPECT_EQ(ids(model, "ab"), (Ids{7, 3}));
  model = bpe();
  model.charsmap = *Charsmap::parse(charsmap_bytes({{"\u00E4", "a"}, {"a\u0308", "c"}, {"\t", " "}, {"\uFFFD", "b"}}), "t");
  EXPECT_EQ(ids(model, "\u00E4\ta\u0308"), (Ids{3, 4, 3, 6})) << "the longest entry";
  EXPECT_EQ(ids(model, "a\xFF"), (Ids{3, 4, 0})) << "a malformed byte is no U+FFFD of the text";
  EXPECT_EQ(ids(model, "a\uFFFD"), (Ids{9}));
}

TEST(SentencePiece, Decodes) {
  const auto tokenizer = made(bpe());
  EXPECT_EQ(*tokenizer->decode(Ids{9, 3, 6}), "ab c");
  EXPECT_EQ(*tokenizer->decode(Ids{1, 9, 0, 2}, false), "ab \u2047 ");
  EXPECT_EQ(*tokenizer->decode(Ids{3, 3, 4}), "a") << "blanks before the text go where extra blanks are removed";
  SentencePieces keeping = bpe();
  keeping.remove_extra_whitespaces = false;
  EXPECT_EQ(*made(keeping)->decode(Ids{3, 3, 4}), " a");
}

TEST(SentencePiece, RefusesWhatMakesNoSense) {
  const auto message = [](SentencePieces model) {
    const auto tokenizer = make_sentencepiece(std::move(model), "t.model");
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? "" : tokenizer.error().to_string();
  };
  SentencePieces model = bpe();
  model.algorithm = SentencePieces::Algorithm::kWord;
  EXPECT_NE(message(model).find("whole words"), std::string::npos);
  model = bpe();
  model.pieces[0].type = Type::kNormal;
  EXPECT_NE(message(model).find("0 pieces are for the unknown"), std::string::npos);
  model = bpe();
  model.pieces[4].score = std::bit_cast<float>(0x7FC00000);
  EXPECT_NE(message(model).find("score"), std::string::npos);
  model = bpe();
  model.pieces[4].text.clear();
  EXPECT_NE(message(model).find("piece 4 is empty"), std::string::npos);
}

// The model as a file.
std::string proto_of(const SentencePieces& model) {
  wire::ProtoMessage whole, trainer, normalizer;
  for (const SentencePieces::Piece& piece : model.pieces) {
    wire::ProtoMessage message;
    message.add_string(1, piece.text);
    message.add_float(2, piece.score);
    if (piece.type != Type::kNormal) message.add_int(3, static_cast<std::int64_t>(piece.type));
    whole.add_message(1, message);
  }
  trainer.add_int(3, static_cast<std::int64_t>(model.algorithm));
  trainer.add_int(35, model.byte_fallback ? 1 : 0);
  trainer.add_int(43, -1);
  trainer.add_string(44, "?");
  normalizer.add_int(3, model.add_dummy_prefix ? 1 : 0);
  normalizer.add_int(4, model.remove_extra_whitespaces ? 1 : 0);
  whole.add_message(2, trainer);
  whole.add_message(3, normalizer);
  return whole.to_string();
}

std::span<const std::uint8_t> bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

TEST(SentencePiece, Files) {
  SentencePieces model = bpe();
  model.remove_extra_whitespaces = false;
  const std::string file = proto_of(model);
  const auto read = parse_sentencepiece_model(bytes_of(file), "t.model");
  ASSERT_TRUE(read.ok()) << read.error().to_string();
  EXPECT_EQ(read->pieces.size(), model.pieces.size());
  EXPECT_EQ(read->pieces[9].text, "\u2581ab");
  EXPECT_EQ(read->pieces[9].score, -3);
  EXPECT_EQ(read->pieces[1].type, Type::kControl);
  EXPECT_EQ(read->algorithm, SentencePieces::Algorithm::kBpe);
  EXPECT_TRUE(read->add_dummy_prefix);
  EXPECT_FALSE(read->remove_extra_whitespaces);
  EXPECT_EQ(read->special.bos, 1);
  EXPECT_EQ(read->special.eos, 2);
  EXPECT_EQ(read->special.pad, std::nullopt);
  EXPECT_EQ(read->unknown_surface, "?");
  for (std::size_t n = 0; n < file.size(); ++n) {
    for (const int flip : {0x01, 0x10, 0x80}) {
      std::string changed = file;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      const auto other = parse_sentencepiece_model(bytes_of(changed), "t.model");
      if (!other.ok()) continue;
      if (const auto tokenizer = make_sentencepiece(*other, "t.model"); tokenizer.ok()) {
        EXPECT_TRUE((*tokenizer)->encode("ab c\u00E9").ok());
      }
    }
    const auto cut = parse_sentencepiece_model(bytes_of(file.substr(0, n)), "t.model");
    EXPECT_TRUE(!cut.ok() || cut->pieces.size() <= model.pieces.size()) << n;
  }
  wire::ProtoMessage piece, whole;
  piece.add_string(1, "x");
  piece.add_int(3, 9);
  whole.add_message(1, piece);
  const std::string wrong = whole.to_string();
  const auto typed = parse_sentencepiece_model(bytes_of(wrong), "t.model");
  ASSERT_FALSE(typed.ok());
  EXPECT_NE(typed.error().to_string().find("piece 0 'x' is of type 9"), std::string::npos) << typed.error().to_string();
}

// tokenizer.bin of llama2.c.
std::string llama2c(const SentencePieces& model) {
  std::string out;
  const auto append = [&](std::uint32_t value) {
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  append(12);
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    std::string text = i == 1 ? "\n<s>\n" : i == 2 ? "\n</s>\n" : model.pieces[i].text;
    for (std::size_t at; (at = text.find(kMetaspace)) != text.npos;) text.replace(at, kMetaspace.size(), " ");
    append(std::bit_cast<std::uint32_t>(model.pieces[i].score));
    append(static_cast<std::uint32_t>(text.size()));
    out += text;
  }
  return out;
}

TEST(SentencePiece, VocabularyOfLlama2c) {
  const std::string file = llama2c(bpe());
  const auto read = parse_llama2c_vocabulary(bytes_of(file), "tokenizer.bin");
  ASSERT_TRUE(read.ok()) << read.error().to_string();
  EXPECT_FALSE(read->byte_fallback);
  EXPECT_EQ(ids(*read, "ab c"), (Ids{1, 9, 3, 6}));
  for (std::size_t n = 0; n < file.size(); ++n) {
    const auto cut = parse_llama2c_vocabulary(bytes_of(file.substr(0, n)), "tokenizer.bin");
    EXPECT_TRUE(!cut.ok() || make_sentencepiece(*cut, "tokenizer.bin").ok()) << n;
  }
  std::string longer = file;
  longer[0] = 2;
  EXPECT_NE(parse_llama2c_vocabulary(bytes_of(longer), "t").error().message().find("token 0 at byte 12 has 5 bytes, the longest has 2"), std::string::npos);
}

}  // namespace
}  // namespace narrow::tokenizers
