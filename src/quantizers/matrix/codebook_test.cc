#include "quantizers/matrix/codebook.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/float16.h"
#include "encodings/bnb4.h"
#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

using encodings::CodebookMatrix;

// Exact in f32, so that another program can make the same.
std::vector<float> formula(std::int64_t count) {
  std::vector<float> weight;
  for (std::int64_t i = 0; i < count; ++i) {
    weight.push_back(static_cast<float>(i * 7919 % 2003 - 1001) / 1024 * (static_cast<float>(i / 37 % 5 + 1) / 8));
  }
  return weight;
}

// bitsandbytes 0.50.2:
//   w = torch.tensor([((i*7919%2003)-1001)/1024*((i//37%5)+1)/8 for i in range(195)]).view(5,39)
//   q, s = functional.quantize_4bit(w, blocksize=64, quant_type=t, compress_statistics=True)
TEST(Codebook, EqualsBitsandbytes) {
  struct Golden {
    CodebookMatrix::Type type;
    const char* codes;
  };
  for (const Golden& golden :
       {Golden{CodebookMatrix::Type::kNf4,
               "2ccbbaa998776655444332ccbbba9988776653211100feeddcba9876543221102ddccbba999765543221110feeddcba9876543321110feefeddca986543211"
               "0011eeddcbba9876554332100ffeeddcba9875543211100feeedcba9876766666510f7"},
        Golden{CodebookMatrix::Type::kFp4,
               "d544477661199eeeffccdd5544476661199eeddaaabb32225547619eeccddaaba255544766619efccddaabb32225547619eefcddaaab322322547619eccdaa"
               "bbaa222554476109efccddabb332225547619efcddaaabb33225544661e999eeeebb30"}}) {
    base::ThreadPool pool(2);
    const auto weight = formula(195);
    const auto found = quantize_codebook(weight, 5, 39, {.type = golden.type}, pool);
    ASSERT_TRUE(found);
    std::string hex;
    for (std::uint8_t byte : found->codes) hex += fmt::format("{:02x}", byte);
    EXPECT_EQ(hex, golden.codes);
    ASSERT_EQ(found->nested.size(), 1u);
    EXPECT_EQ(found->nested[0].codes, (std::vector<std::uint8_t>{45, 197, 255, 12}));
    EXPECT_EQ(found->nested[0].offset, 0.337249755859375f);
    EXPECT_EQ(found->nested[0].absmax, (std::vector<float>{0.260894775390625f}));
    std::vector<float> values(195);
    encodings::dequantize_rows(*found, 0, 5, values.data());
    if (golden.type == CodebookMatrix::Type::kNf4) {
      EXPECT_EQ(values[0], -0.12774337828159332f);
      EXPECT_EQ(values[1], 0.1072189211845398f);
      EXPECT_EQ(values[3], 0.08221034705638885f);
    }
  }
}

// Each code is the nearest value of the codebook, by trying all.
TEST(Codebook, CodesAreNearest) {
  for (auto type : {CodebookMatrix::Type::kNf4, CodebookMatrix::Type::kFp4}) {
    const float* values = type == CodebookMatrix::Type::kNf4 ? encodings::kNf4Values : encodings::kFp4Values;
    const auto weight = random_weight(17, 131, 5);
    base::ThreadPool pool(3);
    const auto found = quantize_codebook(weight, 17, 131, {.type = type, .block = 32, .double_quantization = false}, pool);
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->nested.empty());
    std::vector<float> back(weight.size());
    encodings::dequantize_rows(*found, 0, 17, back.data());
    for (std::size_t i = 0; i < weight.size(); ++i) {
      float best = 1e9f;
      for (int c = 0; c < 16; ++c) best = std::min(best, std::abs(values[c] * found->absmax[i / 32] - weight[i]));
      EXPECT_NEAR(std::abs(back[i] - weight[i]), best, 1e-7f);
    }
  }
}

TEST(Codebook, ZerosAndOddSizes) {
  base::ThreadPool pool(1);
  const auto zeros = quantize_codebook(std::vector<float>(33), 1, 33, {}, pool);
  ASSERT_TRUE(zeros);
  std::vector<float> back(33, 1.0f);
  encodings::dequantize_rows(*zeros, 0, 1, back.data());
  for (float v : back) EXPECT_EQ(v, 0);
  EXPECT_FALSE(quantize_codebook(std::vector<float>(33), 1, 33, {.block = 48}, pool));
  EXPECT_FALSE(quantize_codebook(std::vector<float>(33), 2, 33, {}, pool));
  EXPECT_FALSE(quantize_codebook(std::vector<float>(4, std::numeric_limits<float>::quiet_NaN()), 1, 4, {}, pool));
}

// functional.int8_vectorwise_quant(w.half()) of bitsandbytes 0.50.2.
TEST(Int8Rows, EqualsBitsandbytes) {
  const auto weight = formula(195);
  std::vector<float> half;
  for (float w : weight) half.push_back(base::to_float(base::to_float16(w)));
  const auto found = quantize_int8_rows(half, 5, 39);
  ASSERT_TRUE(found);
  const int expected[] = {-120, 109, 98, 87, 76, 64, 53, 42, 31, 20, 9, -3};
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(static_cast<int>(found->codes[i]) - 128, expected[i]);
  const float largest[] = {0.129150390625f, 0.24267578125f, 0.361328125f, 0.59814453125f, 0.59375f};
  for (std::size_t row = 0; row < 5; ++row) EXPECT_FLOAT_EQ(found->scales[row] * 127, largest[row]);
  const auto zeros = quantize_int8_rows(std::vector<float>(8), 2, 4);
  ASSERT_TRUE(zeros);
  for (float v : dequantized(*zeros)) EXPECT_EQ(v, 0);
}

}  // namespace
}  // namespace narrow::quantizers
