#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "datasets/dataset.h"
#include "datasets/dataset_kinds.h"
#include "datasets/text_input.h"
#include "datasets/text_table.h"
#include "tokenizers/test_tokenizer.h"

namespace narrow::datasets {
namespace {

using Ids = std::vector<std::int64_t>;

InputSpec input(const std::string& name, std::int64_t batch, std::int64_t sequence, DType dtype = DType::kS64) {
  graph::Type type = graph::Type::tensor(dtype, {1, 1});
  type.dims[0] = batch < 0 ? graph::Dim() : graph::Dim(batch);
  type.dims[1] = sequence < 0 ? graph::Dim() : graph::Dim(sequence);
  return {name, type};
}

std::vector<InputSpec> bert_inputs(std::int64_t sequence = -1, DType dtype = DType::kS64) {
  return {input("input_ids", -1, sequence, dtype), input("attention_mask", -1, sequence, dtype), input("token_type_ids", -1, sequence, dtype)};
}

std::shared_ptr<const tokenizers::Tokenizer> tokenizer(const std::string& extra = "") {
  return *tokenizers::parse_tokenizer(tokenizers::small_tokenizer(extra), "small.json");
}

Ids row(const std::vector<std::pair<std::string, Tensor>>& inputs, const std::string& name) {
  for (const auto& [key, tensor] : inputs) {
    if (key != name) continue;
    EXPECT_EQ(tensor.shape().size(), 2u);
    EXPECT_EQ(tensor.shape()[0], 1);
    const std::vector<float> values = tensor.to_float();
    return {values.begin(), values.end()};
  }
  ADD_FAILURE() << "no input " << name;
  return {};
}

TEST(TextInput, RowsByName) {
  auto inputs = bert_inputs(-1, DType::kS32);
  inputs.push_back(input("serving_position_ids:0", 1, -1));
  const auto text = TextInput::create(inputs, tokenizer(R"("padding": {"strategy": {"Fixed": 9}},)"), 0);
  ASSERT_TRUE(text.ok()) << text.error().to_string();
  const auto made = text->convert("unwanted a");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)[0].second.dtype(), DType::kS32);
  EXPECT_EQ(row(*made, "input_ids"), (Ids{2, 5, 8, 11, 3})) << "texts keep their own length";
  EXPECT_EQ(row(*made, "attention_mask"), (Ids{1, 1, 1, 1, 1}));
  EXPECT_EQ(row(*made, "token_type_ids"), (Ids{0, 0, 0, 0, 0}));
  EXPECT_EQ(row(*made, "serving_position_ids:0"), (Ids{0, 1, 2, 3, 4}));
}

TEST(TextInput, FixedLengthsArePaddedAndCut) {
  const auto text = TextInput::create(bert_inputs(6), tokenizer(), 512);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(row(*text->convert("a"), "input_ids"), (Ids{2, 11, 3, 0, 0, 0}));
  EXPECT_EQ(row(*text->convert("a"), "attention_mask"), (Ids{1, 1, 1, 0, 0, 0}));
  EXPECT_EQ(row(*text->convert("a a a a a a a"), "input_ids"), (Ids{2, 11, 11, 11, 11, 3}));
  const auto left = TextInput::create(bert_inputs(5), tokenizer(R"("padding": {"strategy": "BatchLongest", "direction": "Left", "pad_id": 1},)"), 0);
  EXPECT_EQ(row(*left->convert("a"), "input_ids"), (Ids{1, 1, 2, 11, 3}));
  const auto cut = TextInput::create(bert_inputs(), tokenizer(), 4);
  EXPECT_EQ(row(*cut->convert("a a a a a a a"), "input_ids"), (Ids{2, 11, 11, 3}));
}

TEST(TextInput, NamesWhatTextCannotFeed) {
  const auto message = [](const std::vector<InputSpec>& inputs) { return TextInput::create(inputs, tokenizer(), 0).error().message(); };
  auto inputs = bert_inputs();
  inputs.push_back(input("past_key", -1, -1));
  EXPECT_NE(message(inputs).find("'past_key'"), std::string::npos);
  EXPECT_NE(message(bert_inputs(-1, DType::kF32)).find("f32"), std::string::npos);
  EXPECT_NE(message({input("input_ids", 8, -1)}).find("batch of 1"), std::string::npos);
  EXPECT_NE(message({input("input_ids", -1, 8), input("attention_mask", -1, 9)}).find("another sequence length"), std::string::npos);
  EXPECT_NE(message({input("attention_mask", -1, 9)}).find("no input for token ids"), std::string::npos);
  EXPECT_TRUE(reads_tokens(bert_inputs()));
  EXPECT_FALSE(reads_tokens({input("attention_mask", -1, -1)}));
}

TEST(TextTable, ColumnsOfEveryForm) {
  const auto parse = [](std::string_view text) { return *parse_scored_pairs(text, "t"); };
  const auto benchmark = parse("news\tfile\t2012\t0001\t4.5\tA \"man\", x.\tB.\textra\r\nnews\tfile\t2012\t0002\t.5\tC\tD\n\n");
  ASSERT_EQ(benchmark.size(), 2u);
  EXPECT_EQ(benchmark[0].first, "A \"man\", x.");
  EXPECT_EQ(benchmark[0].second, "B.");
  EXPECT_EQ(benchmark[0].score, 4.5);
  EXPECT_EQ(benchmark[1].line, 2u);
  EXPECT_EQ(parse("one\ttwo\t3")[0].second, "two");
  EXPECT_EQ(parse("3\tone\ttwo")[0].second, "two");
  const auto named = parse("\xEF\xBB\xBFid,Score,sentence2,sentence1\r\n7,2.5,\"x, \"\"y\"\"\nz\",w\r\n8,-1e1,b,a\r\n");
  ASSERT_EQ(named.size(), 2u);
  EXPECT_EQ(named[0].first, "w");
  EXPECT_EQ(named[0].second, "x, \"y\"\nz");
  EXPECT_EQ(named[1].score, -10);
  EXPECT_EQ(named[1].line, 4u) << "a quoted field may hold line ends";
}

TEST(TextTable, NamesTheLineThatIsWrong) {
  const auto message = [](std::string_view text) { return parse_scored_pairs(text, "t.csv").error().message(); };
  EXPECT_NE(message("a\tb\n").find("line 1: cannot tell"), std::string::npos);
  EXPECT_NE(message("a\tb\t1\nc\td\n").find("line 2: 2 columns, expected at least 3"), std::string::npos);
  EXPECT_NE(message("a\tb\t1\nc\td\tnan\n").find("line 2: the score 'nan' is not a number"), std::string::npos);
  EXPECT_NE(message("a,b,1\n\"c,d,2\n").find("line 2: a double quote is never closed"), std::string::npos);
  EXPECT_TRUE(parse_scored_pairs("", "t")->empty());
}

TEST(TextData, PairsAndLinesOpenByExtension) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "narrow_text_test";
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name) << text;
    return (folder / name).string();
  };
  OpenOptions options;
  options.inputs = bert_inputs();
  options.tokenizer = write("tokenizer.json", tokenizers::small_tokenizer());
  write("tokenizer_config.json", R"({"model_max_length": 5})");

  const auto pairs = open_dataset(write("pairs.tsv", "a\tun\t1\nun\ta\t2\na a a a a a\ta\t3\n"), options);
  ASSERT_TRUE(pairs.ok()) << pairs.error().to_string();
  EXPECT_EQ((*pairs)->size(), 6u);
  EXPECT_EQ((*pairs)->describe(), "3 sentence pairs with scores, pairs.tsv");
  EXPECT_EQ(row((*pairs)->read(3)->inputs, "input_ids"), (Ids{2, 11, 3}));
  EXPECT_EQ((*pairs)->read(3)->score, 2.0);
  EXPECT_EQ(row((*pairs)->read(4)->inputs, "input_ids").size(), 5u) << "cut to model_max_length";
  const auto some = take_samples(std::shared_ptr<const Dataset>(*open_dataset((folder / "pairs.tsv").string(), options)), 3);
  EXPECT_EQ(some->size(), 4u) << "pairs stay whole";
  EXPECT_EQ(some->read(2)->score, 2.0);
  EXPECT_EQ(some->read(3)->score, 2.0);

  const auto lines = open_dataset(write("lines.txt", "un\n\n  \na\n"), options);
  ASSERT_TRUE(lines.ok()) << lines.error().to_string();
  EXPECT_EQ((*lines)->size(), 2u);
  EXPECT_FALSE((*lines)->labelled());
  EXPECT_EQ((*lines)->read(1)->name, (folder / "lines.txt").string() + " line 4");
  EXPECT_EQ(row((*lines)->read(1)->inputs, "input_ids"), (Ids{2, 11, 3}));

  options.tokenizer = "";
  EXPECT_EQ(open_dataset((folder / "lines.txt").string(), options).error().code(), ErrorCode::kInvalidArgument);
  options.preprocess = "imagenet-224";
  EXPECT_NE(open_dataset((folder / "lines.txt").string(), options).error().message().find("for pictures"), std::string::npos);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace narrow::datasets
