// Every layout: what it packs is what its definition reads word by word, and comes back bit for bit.
#include "formats/quantized_weights/quantized_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "encodings/bnb4.h"

namespace narrow::formats {
namespace {

using encodings::CodebookMatrix;
using encodings::GroupedMatrix;
using encodings::ScaleType;

float rounded(float value, ScaleType type) {
  return type == ScaleType::kF16 ? base::to_float(base::to_float16(value)) : type == ScaleType::kBF16 ? base::to_float(base::to_bfloat16(value)) : value;
}

struct Case {
  std::int64_t rows, columns, group;
  int bits;
  bool symmetric, ordered;
  ScaleType type;
};

OrderedMatrix random_matrix(const Case& c, unsigned seed, int least_zero) {
  std::mt19937 random(seed);
  OrderedMatrix w;
  GroupedMatrix& m = w.matrix;
  m = {.rows = c.rows, .columns = c.columns, .bits = c.bits, .group_size = c.group, .scale_type = c.type};
  m.codes.resize(static_cast<std::size_t>(c.rows * m.row_bytes()));
  for (std::int64_t n = 0; n < c.rows; ++n) {
    for (std::int64_t k = 0; k < c.columns; ++k) encodings::write_code(m.codes.data() + n * m.row_bytes(), c.bits, k, static_cast<int>(random() % (1u << c.bits)));
  }
  for (std::int64_t i = 0; i < c.rows * m.groups(); ++i) {
    m.scales.push_back(rounded(std::exp(static_cast<float>(random() % 1000) / 200.0f - 6.0f), c.type));
    if (!c.symmetric) m.zeros.push_back(static_cast<std::uint8_t>(least_zero + random() % ((1u << c.bits) - least_zero)));
  }
  if (c.ordered) {
    w.order.resize(static_cast<std::size_t>(c.columns));
    std::iota(w.order.begin(), w.order.end(), 0);
    std::shuffle(w.order.begin(), w.order.end(), random);
    for (std::int64_t g = 0; g < c.columns; g += c.group) std::sort(w.order.begin() + g, w.order.begin() + std::min(c.columns, g + c.group));
    if (std::is_sorted(w.order.begin(), w.order.end())) w.order.clear();  // one group: the natural order
  }
  return w;
}

// [rows, columns] in the inputs' own order.
std::vector<float> dequantized(const OrderedMatrix& w) {
  std::vector<float> in_order(static_cast<std::size_t>(w.matrix.rows * w.matrix.columns)), out(in_order.size());
  dequantize_rows(w.matrix, 0, w.matrix.rows, in_order.data());
  for (std::int64_t n = 0; n < w.matrix.rows; ++n) {
    for (std::int64_t j = 0; j < w.matrix.columns; ++j) {
      out[static_cast<std::size_t>(n * w.matrix.columns + (w.order.empty() ? j : w.order[static_cast<std::size_t>(j)]))] = in_order[static_cast<std::size_t>(n * w.matrix.columns + j)];
    }
  }
  return out;
}

using Named = std::map<std::string, Tensor, std::less<>>;
Named named(std::vector<WeightTensor> tensors) {
  Named map;
  for (WeightTensor& t : tensors) map.emplace(t.suffix, std::move(t.tensor));
  return map;
}
WeightSource source_of(const Named& map) {
  return [&map](std::string_view suffix) -> Result<std::optional<Tensor>> {
    const auto at = map.find(suffix);
    return at == map.end() ? std::nullopt : std::optional(at->second);
  };
}

void expect_same(const OrderedMatrix& a, const OrderedMatrix& b) {
  EXPECT_EQ(a.matrix.rows, b.matrix.rows);
  EXPECT_EQ(a.matrix.columns, b.matrix.columns);
  EXPECT_EQ(a.matrix.scale_type, b.matrix.scale_type);
  EXPECT_EQ(a.matrix.codes, b.matrix.codes);
  EXPECT_EQ(a.matrix.scales, b.matrix.scales);
  EXPECT_EQ(a.matrix.zeros, b.matrix.zeros);
  EXPECT_EQ(a.order, b.order);
}

void expect_specs(const std::vector<TensorSpec>& specs, const Named& tensors) {
  EXPECT_EQ(specs.size(), tensors.size());
  for (const TensorSpec& spec : specs) {
    const auto at = tensors.find(spec.name);
    ASSERT_NE(at, tensors.end()) << spec.name;
    EXPECT_EQ(at->second.dtype(), spec.dtype) << spec.name;
    EXPECT_EQ(at->second.shape(), spec.shape) << spec.name;
  }
}

WeightShape shape_of_case(const Case& c) {
  return {.rows = c.rows, .columns = c.columns, .bits = c.bits, .group_size = c.group, .scale_type = c.type, .symmetric = c.symmetric, .ordered = c.ordered};
}

std::uint32_t word(const Tensor& t, std::int64_t row, std::int64_t column) { return static_cast<const std::uint32_t*>(t.raw())[row * t.shape()[1] + column]; }

// A code of the bit stream that runs through words next(0), next(1), …
template <typename F>
int code_in(F next, int bits, std::int64_t index) {
  int code = 0;
  for (int b = 0; b < bits; ++b) {
    const std::int64_t at = index * bits + b;
    code |= static_cast<int>(next(at / 32) >> (at % 32) & 1) << b;
  }
  return code;
}

TEST(GptqLayout, PacksAsItsDefinitionSays) {
  base::ThreadPool pool(3);
  int cases = 0;
  for (const int version : {1, 2}) {
    const WeightLayout& layout = *find_weight_layout(version == 1 ? "gptq" : "gptq_v2");
    for (const int bits : {2, 3, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        for (const bool ordered : {false, true}) {
          for (const Case& c : {Case{32, 32, 32, bits, symmetric, ordered, ScaleType::kF16}, Case{96, 160, 64, bits, symmetric, ordered, ScaleType::kBF16},
                                Case{64, 288, 288, bits, symmetric, ordered, ScaleType::kF16}, Case{544, 96, 128, bits, symmetric, ordered, ScaleType::kF16}}) {
            const OrderedMatrix w = random_matrix(c, static_cast<unsigned>(++cases), version == 1 ? 1 : 0);
            const auto packed = layout.pack(w, cases % 2 ? &pool : nullptr);
            ASSERT_TRUE(packed.ok()) << packed.error().to_string();
            const Named t = named(*packed);
            expect_specs(layout.specs(shape_of_case(c)), t);
            const std::vector<float> expected = dequantized(w), scales = t.at("scales").to_float();
            const auto g_idx = t.at("g_idx").data<std::int32_t>();
            for (std::int64_t n = 0; n < c.rows; ++n) {
              for (std::int64_t k = 0; k < c.columns; ++k) {
                const std::int64_t g = g_idx[static_cast<std::size_t>(k)];
                const int code = code_in([&](std::int64_t i) { return word(t.at("qweight"), i, n); }, bits, k);
                const int zero = code_in([&](std::int64_t i) { return word(t.at("qzeros"), g, i); }, bits, n) + (version == 1);
                ASSERT_EQ(static_cast<float>(code - zero) * scales[static_cast<std::size_t>(g * c.rows + n)], expected[static_cast<std::size_t>(n * c.columns + k)]) << n << "," << k;
              }
            }
            if (symmetric && bits == 4) {
              EXPECT_EQ(word(t.at("qzeros"), 0, 0), version == 1 ? 0x77777777u : 0x88888888u);
            }
            WeightShape given{.bits = bits, .group_size = c.group == c.columns ? -1 : c.group};
            const auto back = layout.unpack(given, source_of(t), cases % 2 ? nullptr : &pool);
            ASSERT_TRUE(back.ok()) << back.error().to_string();
            expect_same(*back, w);
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 2 * 4 * 4 * 4);
}

TEST(GptqLayout, RefusesWhatItHasNoPlaceFor) {
  const WeightLayout& v1 = *find_weight_layout("gptq");
  for (const Case& c : {Case{32, 33, 32, 4, true, false, ScaleType::kF16}, Case{40, 32, 32, 4, true, false, ScaleType::kF16}, Case{32, 32, 32, 4, true, false, ScaleType::kF32}}) {
    const auto packed = v1.pack(random_matrix(c, 1, 1), nullptr);
    ASSERT_FALSE(packed.ok());
    EXPECT_EQ(packed.error().code(), ErrorCode::kUnsupported);
    EXPECT_FALSE(packed.error().hint().empty());
    EXPECT_FALSE(v1.check(shape_of_case(c)).ok());
  }
  OrderedMatrix w = random_matrix({32, 32, 32, 4, false, false, ScaleType::kF16}, 2, 1);
  w.matrix.zeros[7] = 0;
  const auto packed = v1.pack(w, nullptr);
  ASSERT_FALSE(packed.ok());
  EXPECT_NE(packed.error().message().find("output 7 has the zero point 0"), std::string::npos);
  EXPECT_TRUE(find_weight_layout("gptq_v2")->pack(w, nullptr).ok());
}

TEST(GptqLayout, RefusesTensorsThatDoNotFit) {
  const WeightLayout& v1 = *find_weight_layout("gptq");
  const Case c{64, 64, 32, 4, false, false, ScaleType::kF16};
  const Named whole = named(*v1.pack(random_matrix(c, 3, 1), nullptr));
  const WeightShape given{.bits = 4, .group_size = 32};
  const auto code = [&](auto change) {
    Named t;
    for (const auto& [suffix, tensor] : whole) t.emplace(suffix, tensor.clone());
    change(t);
    const auto w = v1.unpack(given, source_of(t), nullptr);
    EXPECT_FALSE(w.ok());
    return w.ok() ? ErrorCode::kInternal : w.error().code();
  };
  EXPECT_EQ(code([](Named& t) { t.erase("scales"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code([](Named& t) { t["scales"] = *Tensor::create(DType::kF16, {3, 64}); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["qzeros"] = *Tensor::create(DType::kS32, {2, 9}); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["qweight"] = *Tensor::create(DType::kF32, {8, 64}); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["qweight"] = *Tensor::create(DType::kS32, {8}); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["qweight"] = *Tensor::create(DType::kS32, {0, 64}); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["g_idx"] = *Tensor::create(DType::kS32, {64}); }), ErrorCode::kUnsupported);  // 64 inputs in group 0
  EXPECT_EQ(code([](Named& t) { t["g_idx"].mutable_data<std::int32_t>()[5] = 2; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["g_idx"] = Tensor::from<std::int32_t>({64}, std::vector<std::int32_t>(64, -1)); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { t["scales"].mutable_data<base::Float16>()[5].bits = 0x7C00; }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([](Named& t) { static_cast<std::uint32_t*>(t["qzeros"].mutable_raw())[0] |= 0xF; }), ErrorCode::kUnsupported);
  EXPECT_FALSE(v1.unpack({.bits = 3, .group_size = 32}, source_of(whole), nullptr).ok());
  EXPECT_FALSE(v1.unpack({.bits = 0, .group_size = 32}, source_of(whole), nullptr).ok());
  EXPECT_FALSE(v1.unpack({.bits = 4, .group_size = 0}, source_of(whole), nullptr).ok());
  EXPECT_FALSE(v1.unpack({.bits = 4, .group_size = 64}, source_of(whole), nullptr).ok());
}

TEST(AwqLayout, PacksAsItsDefinitionSays) {
  const WeightLayout& layout = *find_weight_layout("awq");
  base::ThreadPool pool(2);
  constexpr int kField[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of output j of an octet
  unsigned seed = 0;
  for (const bool symmetric : {true, false}) {
    for (const Case& c : {Case{8, 8, 8, 4, symmetric, false, ScaleType::kF16}, Case{136, 96, 32, 4, symmetric, false, ScaleType::kF16}, Case{264, 384, 128, 4, symmetric, false, ScaleType::kF16}}) {
      const OrderedMatrix w = random_matrix(c, ++seed, 0);
      const auto packed = layout.pack(w, seed % 2 ? &pool : nullptr);
      ASSERT_TRUE(packed.ok()) << packed.error().to_string();
      const Named t = named(*packed);
      expect_specs(layout.specs(shape_of_case(c)), t);
      const std::vector<float> expected = dequantized(w), scales = t.at("scales").to_float();
      for (std::int64_t n = 0; n < c.rows; ++n) {
        for (std::int64_t k = 0; k < c.columns; ++k) {
          const int code = word(t.at("qweight"), k, n / 8) >> (4 * kField[n % 8]) & 15, zero = word(t.at("qzeros"), k / c.group, n / 8) >> (4 * kField[n % 8]) & 15;
          ASSERT_EQ(static_cast<float>(code - zero) * scales[static_cast<std::size_t>(k / c.group * c.rows + n)], expected[static_cast<std::size_t>(n * c.columns + k)]) << n << "," << k;
        }
      }
      const auto back = layout.unpack({.bits = 4, .group_size = c.group}, source_of(t), &pool);
      ASSERT_TRUE(back.ok()) << back.error().to_string();
      expect_same(*back, w);
    }
  }
  for (const Case& c : {Case{12, 64, 32, 4, true, false, ScaleType::kF16}, Case{16, 64, 48, 4, true, false, ScaleType::kF16}, Case{16, 64, 32, 8, true, false, ScaleType::kF16},
                        Case{16, 64, 32, 4, true, true, ScaleType::kF16}, Case{16, 64, 32, 4, true, false, ScaleType::kBF16}}) {
    EXPECT_EQ(layout.pack(random_matrix(c, 1, 0), nullptr).error().code(), ErrorCode::kUnsupported);
    EXPECT_FALSE(layout.check(shape_of_case(c)).ok());
  }
}

TEST(PackQuantizedLayout, PacksAsItsDefinitionSays) {
  const WeightLayout& layout = *find_weight_layout("pack-quantized");
  base::ThreadPool pool(2);
  unsigned seed = 0;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const bool ordered : {false, true}) {
        for (const Case& c : {Case{1, 1, 1, bits, symmetric, false, ScaleType::kF32}, Case{37, 75, 25, bits, symmetric, ordered, ScaleType::kBF16}, Case{130, 256, 128, bits, symmetric, ordered, ScaleType::kF16},
                              Case{5, 77, 77, bits, symmetric, false, ScaleType::kF16}}) {
          const OrderedMatrix w = random_matrix(c, ++seed, 0);
          const auto packed = layout.pack(w, seed % 2 ? &pool : nullptr);
          ASSERT_TRUE(packed.ok()) << packed.error().to_string();
          const Named t = named(*packed);
          expect_specs(layout.specs(shape_of_case(c)), t);
          EXPECT_EQ(t.at("weight_shape").to_int64(), (std::vector<std::int64_t>{c.rows, c.columns}));
          const std::vector<float> expected = dequantized(w), scales = t.at("weight_scale").to_float();
          const std::int64_t groups = w.matrix.groups();
          for (std::int64_t n = 0; n < c.rows; ++n) {
            for (std::int64_t k = 0; k < c.columns; ++k) {
              const std::int64_t g = c.ordered ? t.at("weight_g_idx").data<std::int32_t>()[static_cast<std::size_t>(k)] : k / c.group;
              const int code = code_in([&](std::int64_t i) { return word(t.at("weight_packed"), n, i); }, bits, k) - (1 << (bits - 1));
              const int zero = symmetric ? 0 : code_in([&](std::int64_t i) { return word(t.at("weight_zero_point"), i, g); }, bits, n) - (1 << (bits - 1));
              ASSERT_EQ(static_cast<float>(code - zero) * scales[static_cast<std::size_t>(n * groups + g)], expected[static_cast<std::size_t>(n * c.columns + k)]) << n << "," << k;
            }
          }
          const auto back = layout.unpack({.bits = bits, .group_size = c.group == c.columns ? -1 : c.group}, source_of(t), &pool);
          ASSERT_TRUE(back.ok()) << back.error().to_string();
          expect_same(*back, w);
        }
      }
    }
  }
  EXPECT_FALSE(layout.check({.rows = 4, .columns = 40, .bits = 4, .group_size = 32}).ok());
}

// Until package 0.12 three-bit codes lay ten to a word.
TEST(PackQuantizedLayout, ReadsWholeCodesInWords) {
  const std::int64_t columns = 320;
  const OrderedMatrix w = random_matrix({10, columns, 64, 3, false, false, ScaleType::kF16}, 9, 0);
  Named t = named(*find_weight_layout("pack-quantized")->pack(w, nullptr));
  Tensor old = *Tensor::create(DType::kS32, {10, columns / 10});
  for (std::int64_t n = 0; n < 10; ++n) {
    for (std::int64_t k = 0; k < columns; ++k) {
      static_cast<std::uint32_t*>(old.mutable_raw())[n * 32 + k / 10] |= static_cast<std::uint32_t>(encodings::read_code(w.matrix.codes.data() + n * w.matrix.row_bytes(), 3, k)) << (k % 10 * 3);
    }
  }
  t["weight_packed"] = old;
  const auto back = find_weight_layout("pack-quantized")->unpack({.bits = 3, .group_size = 64}, source_of(t), nullptr);
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  expect_same(*back, w);
}

TEST(RowsOfBytes, ComeBackAndRefuseTheRest) {
  for (const char* name : {"int-quantized", "llm-int8"}) {
    const WeightLayout& layout = *find_weight_layout(name);
    const Case c{33, 50, 50, 8, true, false, ScaleType::kF32};
    OrderedMatrix w = random_matrix(c, 5, 0);
    for (float& s : w.matrix.scales) s = (s * 127.0f) / 127.0f;  // as a quantizer makes them: the largest magnitude over 127
    const Named t = named(*layout.pack(w, nullptr));
    expect_specs(layout.specs(shape_of_case(c)), t);
    const std::vector<float> expected = dequantized(w);
    for (std::int64_t i = 0; i < 33 * 50; ++i) {
      const float scale = t.contains("SCB") ? t.at("SCB").data<float>()[static_cast<std::size_t>(i / 50)] / 127.0f : t.at("weight_scale").data<float>()[static_cast<std::size_t>(i / 50)];
      ASSERT_EQ(static_cast<float>(t.at("weight").data<std::int8_t>()[static_cast<std::size_t>(i)]) * scale, expected[static_cast<std::size_t>(i)]);
    }
    const auto back = layout.unpack({}, source_of(t), nullptr);
    ASSERT_TRUE(back.ok()) << back.error().to_string();
    expect_same(*back, w);
    for (const Case& bad : {Case{33, 50, 25, 8, true, false, ScaleType::kF32}, Case{33, 50, 50, 4, true, false, ScaleType::kF32}, Case{33, 50, 50, 8, false, false, ScaleType::kF32}}) {
      EXPECT_EQ(layout.pack(random_matrix(bad, 1, 0), nullptr).error().code(), ErrorCode::kUnsupported);
    }
  }
}

CodebookMatrix random_codebook(std::int64_t rows, std::int64_t columns, std::int64_t block, CodebookMatrix::Type type, bool nested) {
  std::mt19937 random(static_cast<unsigned>(rows * columns + block));
  CodebookMatrix m{.rows = rows, .columns = columns, .block = block, .type = type};
  for (std::int64_t i = 0; i < (rows * columns + 1) / 2; ++i) m.codes.push_back(static_cast<std::uint8_t>(random()));
  CodebookMatrix::Nested second{.offset = 0.123456789f};
  for (std::int64_t i = 0; i < (m.blocks() + 255) / 256; ++i) second.absmax.push_back(0.5f + static_cast<float>(i));
  for (std::int64_t i = 0; i < m.blocks(); ++i) {
    second.codes.push_back(static_cast<std::uint8_t>(random()));
    m.absmax.push_back(nested ? encodings::dynamic_map()[second.codes.back()] * second.absmax[static_cast<std::size_t>(i / 256)] + second.offset : static_cast<float>(random() % 100));
  }
  if (nested) m.nested.push_back(second);
  return m;
}

TEST(Bitsandbytes, ComesBack) {
  for (const auto type : {CodebookMatrix::Type::kNf4, CodebookMatrix::Type::kFp4}) {
    for (const bool nested : {false, true}) {
      for (const auto& [rows, columns, block] : {std::tuple{1, 1, 64}, std::tuple{33, 51, 64}, std::tuple{256, 300, 128}, std::tuple{256, 256, 64}}) {
        const CodebookMatrix m = random_codebook(rows, columns, block, type, nested);
        const auto packed = pack_bitsandbytes(m, DType::kBF16);
        ASSERT_TRUE(packed.ok()) << packed.error().to_string();
        const Named t = named(*packed);
        expect_specs(bitsandbytes_specs(rows, columns, type, block, nested, DType::kBF16), t);
        const auto back = unpack_bitsandbytes(source_of(t));
        ASSERT_TRUE(back.ok()) << back.error().to_string();
        EXPECT_EQ(back->codes, m.codes);
        EXPECT_EQ(back->absmax, m.absmax);
        EXPECT_EQ(back->rows, rows);
        EXPECT_EQ(back->columns, columns);
        EXPECT_EQ(back->type, type);
        ASSERT_EQ(back->nested.size(), m.nested.size());
        if (nested) {
          EXPECT_EQ(back->nested[0].offset, m.nested[0].offset);
        }
      }
    }
  }
}

TEST(Bitsandbytes, RefusesWhatDoesNotFit) {
  const Named whole = named(*pack_bitsandbytes(random_codebook(32, 64, 64, CodebookMatrix::Type::kNf4, true), DType::kF16));
  const auto refused = [&](auto change) {
    Named t = whole;
    change(t);
    return !unpack_bitsandbytes(source_of(t)).ok();
  };
  const std::string key = "weight.quant_state.bitsandbytes__nf4";
  const auto state = [&](const std::string& text) {
    return refused([&](Named& t) { t[key] = Tensor::from<std::uint8_t>({static_cast<std::int64_t>(text.size())}, std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())); });
  };
  EXPECT_TRUE(unpack_bitsandbytes(source_of(whole)).ok());
  EXPECT_TRUE(refused([&](Named& t) { t.erase(key); }));
  EXPECT_TRUE(refused([&](Named& t) { t["weight"] = *Tensor::create(DType::kU8, {1023, 1}); }));
  EXPECT_TRUE(refused([&](Named& t) { t["weight.quant_map"] = *Tensor::create(DType::kF32, {16}); }));
  EXPECT_TRUE(refused([&](Named& t) { t["weight.absmax"] = *Tensor::create(DType::kU8, {31}); }));
  EXPECT_TRUE(refused([&](Named& t) { t["weight.absmax"] = *Tensor::create(DType::kF32, {32}); }));
  EXPECT_TRUE(refused([&](Named& t) { t.erase("weight.nested_absmax"); }));
  EXPECT_TRUE(state("{"));
  EXPECT_TRUE(state(R"({"quant_type":"fp4","blocksize":64,"shape":[32,64]})"));
  EXPECT_TRUE(state(R"({"quant_type":"nf4","blocksize":0,"shape":[32,64]})"));
  EXPECT_TRUE(state(R"({"quant_type":"nf4","blocksize":64,"shape":[32,-64]})"));
  EXPECT_TRUE(state(R"({"quant_type":"nf4","blocksize":64,"shape":[2147483647,2147483647]})"));
  EXPECT_TRUE(state(R"({"quant_type":"nf4","blocksize":64,"shape":[32,64],"nested_offset":"x","nested_blocksize":256})"));
}

TEST(Bitsandbytes, TheDynamicMapRisesFromMinusToPlusOne) {
  const auto map = encodings::dynamic_map();
  EXPECT_TRUE(std::is_sorted(map.begin(), map.end()));
  EXPECT_EQ(map[255], 1.0f);
  EXPECT_EQ(map[127], 0.0f);
  EXPECT_NEAR(map[0], -0.99296875f, 1e-6f);
  for (int i = 0; i < 127; ++i) EXPECT_EQ(map[static_cast<std::size_t>(126 - i)], -map[static_cast<std::size_t>(128 + i)]);
}

}  // namespace
}  // namespace narrow::formats
