// com.microsoft's operators on packed weights and codes, against their definitions written out here. What ONNX Runtime
// makes of random models is compared in tests/peer/contrib_operators_peer.py.
#include "encodings/bnb4.h"
#include "encodings/packed_codes.h"
#include "operators/element_type.h"
#include "operators/test_support.h"

namespace narrow::operators::testing {
namespace {

Tensor first(const Result<std::vector<Tensor>>& result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().to_string());
  return result.ok() ? result->front() : Tensor();
}

Tensor bytes(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  return fill(DType::kU8, shape, [&](std::int64_t) { return static_cast<double>(random() % 256); });
}
Tensor scales(const Shape& shape, DType dtype = DType::kF32) {
  return fill(dtype, shape, [](std::int64_t i) { return static_cast<double>(i % 7 + 1) / 64; });
}

// Code `i` of a run of packed codes, from its bits.
int code_at(const Tensor& packed, std::int64_t row, std::int64_t row_bytes, int bits, std::int64_t i) {
  int code = 0;
  for (int b = 0; b < bits; ++b) {
    const std::int64_t at = i * bits + b;
    code |= (packed.data<std::uint8_t>()[static_cast<std::size_t>(row * row_bytes + at / 8)] >> (at % 8) & 1) << b;
  }
  return code;
}

// y[i, j] = sum_k a[i, k] * weight(j, k) + bias[j]
template <typename Weight>
void expect_product(const Tensor& y, const Tensor& a, const Tensor& bias, std::int64_t n, const Weight& weight, double tolerance) {
  const std::int64_t k = a.shape().back(), m = a.size() / k;
  ASSERT_EQ(y.size(), m * n);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = bias.defined() ? bias.at_as_double(j) : 0;
      for (std::int64_t p = 0; p < k; ++p) sum += a.at_as_double(i * k + p) * weight(j, p);
      ASSERT_NEAR(y.at_as_double(i * n + j), sum, tolerance * std::max(1.0, std::fabs(sum))) << i << " " << j;
    }
  }
}

TEST(MatMulNBits, EqualsTheProductWithItsWeights) {
  for (const int bits : {2, 4, 8}) {
    for (const std::int64_t group : {16, 32}) {
      for (const std::int64_t k : {16, 40, 100}) {
        for (const std::int64_t m : {1, 3, 70}) {
          for (const int zeros_kind : {0, 1, 2}) {
            const std::int64_t n = 19, groups = (k + group - 1) / group, row = group * bits / 8 * groups, zero_row = (groups * bits + 7) / 8;
            const Tensor a = small_numbers(DType::kF32, {m, k}, 1), b = bytes({n, groups, group * bits / 8}, 2), s = scales({n, groups});
            const Tensor zeros = zeros_kind == 0 ? Tensor() : zeros_kind == 1 ? bytes({n * zero_row}, 3) : fill(DType::kF32, {n, groups}, [](std::int64_t i) { return static_cast<double>(i % 5) + 0.5; });
            const Tensor bias = m == 3 ? small_numbers(DType::kF32, {n}, 4) : Tensor();
            const Tensor y = first(run_microsoft("MatMulNBits", {a, b, s, zeros, Tensor(), bias}, {{"K", k}, {"N", n}, {"bits", std::int64_t{bits}}, {"block_size", group}}));
            expect_product(y, a, bias, n, [&](std::int64_t j, std::int64_t p) {
              const std::int64_t g = p / group;
              const double zero = zeros_kind == 0 ? 1 << (bits - 1) : zeros_kind == 1 ? code_at(zeros, j, zero_row, bits, g) : zeros.at_as_double(j * groups + g);
              return (code_at(b, j, row, bits, p) - zero) * s.at_as_double(j * groups + g);
            }, 1e-4);
          }
        }
      }
    }
  }
}

TEST(MatMulNBits, TakesGroupsFromAnIndexAndHalfPrecision) {
  const std::int64_t k = 48, n = 5;
  const Tensor b = bytes({n, 3, 8}, 2), s = scales({n, 3}, DType::kF16);
  const Tensor index = fill(DType::kS32, {k}, [](std::int64_t i) { return static_cast<double>((i * 7) % 3); });
  const Tensor a = small_numbers(DType::kF16, {2, 3, k}, 1);
  const Attributes attributes = {{"K", k}, {"N", n}, {"block_size", std::int64_t{16}}};
  const Tensor y = first(run_microsoft("MatMulNBits", {a, b, s, Tensor(), index}, attributes));
  EXPECT_EQ(y.dtype(), DType::kF16);
  EXPECT_EQ(y.shape(), (Shape{2, 3, n}));
  expect_product(y, a, Tensor(), n, [&](std::int64_t j, std::int64_t p) { return (code_at(b, j, 24, 4, p) - 8) * s.at_as_double(j * 3 + (p * 7) % 3); }, 2e-3);
  EXPECT_FALSE(run_microsoft("MatMulNBits", {a, b, s, Tensor(), fill(DType::kS32, {k}, [](std::int64_t) { return 3; })}, attributes).ok());
}

TEST(MatMulNBits, AnOmittedProjectionIsZeroAndMistakesAreNamed) {
  const Tensor a = small_numbers(DType::kF32, {2, 32}, 1), bias = small_numbers(DType::kF32, {3}, 2);
  const auto with = [&](std::int64_t k, std::int64_t n, std::int64_t group, std::int64_t bits = 4) {
    return Attributes{{"K", k}, {"N", n}, {"block_size", group}, {"bits", bits}};
  };
  const Tensor empty = *Tensor::create(DType::kU8, {0, 2, 8});
  const Tensor y = first(run_microsoft("MatMulNBits", {a, empty, *Tensor::create(DType::kF32, {0}), Tensor(), Tensor(), bias}, with(32, 3, 16)));
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(y.at_as_double(i), bias.at_as_double(i % 3));
  const Tensor b = bytes({3, 2, 8}, 2), s = scales({3, 2});
  EXPECT_TRUE(run_microsoft("MatMulNBits", {a, b, s}, with(32, 3, 16)).ok());
  for (const Attributes& bad : {with(32, 3, 24), with(32, 3, 8), with(32, 3, 16, 3), with(0, 3, 16), with(32, -1, 16), with(31, 3, 16), with(std::int64_t{1} << 62, 3, 16), Attributes{}}) {
    const auto result = run_microsoft("MatMulNBits", {a, b, s}, bad);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().to_string().find("'n' (MatMulNBits)"), std::string::npos);
  }
  EXPECT_FALSE(run_microsoft("MatMulNBits", {a, bytes({3, 2, 7}, 1), s}, with(32, 3, 16)).ok());
  EXPECT_FALSE(run_microsoft("MatMulNBits", {a, b, s, bytes({4}, 1)}, with(32, 3, 16)).ok());
}

TEST(MatMulBnb4, LooksUpBothTypesInBothDirections) {
  for (const std::int64_t type : {0, 1}) {
    for (const bool transposed : {true, false}) {
      const std::int64_t k = 33, n = 20, group = 16;
      const Tensor a = small_numbers(DType::kF32, {3, transposed ? k : n}, 1), b = bytes({(n * k + 1) / 2}, 2), s = scales({(n * k + group - 1) / group});
      const Tensor y = first(run_microsoft("MatMulBnb4", {a, b, s}, {{"K", k}, {"N", n}, {"block_size", group}, {"quant_type", type}, {"transB", std::int64_t{transposed}}}));
      const auto weight = [&](std::int64_t row, std::int64_t column) {
        const std::int64_t i = row * k + column;
        const int code = b.data<std::uint8_t>()[static_cast<std::size_t>(i / 2)] >> (i % 2 == 0 ? 4 : 0) & 15;
        return static_cast<double>((type == 0 ? encodings::kFp4Values : encodings::kNf4Values)[code]) * s.at_as_double(i / group);
      };
      expect_product(y, a, Tensor(), transposed ? n : k, [&](std::int64_t j, std::int64_t p) { return transposed ? weight(j, p) : weight(p, j); }, 1e-4);
    }
  }
  // The tables: symmetric in FP4, ascending in NF4.
  for (int i = 0; i < 8; ++i) EXPECT_EQ(encodings::kFp4Values[i], -encodings::kFp4Values[i + 8]);
  for (int i = 0; i + 1 < 16; ++i) EXPECT_LT(encodings::kNf4Values[i], encodings::kNf4Values[i + 1]);
}

TEST(GatherBlockQuantized, TakesRowsOfEveryCodeType) {
  const Tensor indices = Tensor::from<std::int64_t>({2, 2}, {1, -1, 0, 7});
  for (const int bits : {2, 4, 8}) {
    for (const bool with_zeros : {false, true}) {
      const std::int64_t rows = 5, columns = 40, groups = 3, row_bytes = columns * bits / 8, zero_bytes = (groups * bits + 7) / 8;
      const Tensor data = bytes({rows, row_bytes}, 1), s = scales({rows, groups}), zeros = with_zeros ? bytes({rows, zero_bytes}, 2) : Tensor();
      const Tensor y = first(run_microsoft("GatherBlockQuantized", {data, indices, s, zeros}, {{"bits", std::int64_t{bits}}, {"block_size", std::int64_t{16}}}));
      ASSERT_EQ(y.shape(), (Shape{2, 2, columns}));
      for (std::int64_t i = 0; i < y.size(); ++i) {
        const std::int64_t row = std::array<std::int64_t, 4>{1, 4, 0, -1}[static_cast<std::size_t>(i / columns)], column = i % columns;
        double expected = 0;  // beyond the table
        if (row >= 0) {
          const double zero = with_zeros ? code_at(zeros, row, zero_bytes, bits, column / 16) : 1 << (bits - 1);
          expected = (code_at(data, row, row_bytes, bits, column) - zero) * s.at_as_double(row * groups + column / 16);
        }
        EXPECT_FLOAT_EQ(static_cast<float>(y.at_as_double(i)), static_cast<float>(expected));
      }
    }
  }
  for (const DType dtype : {DType::kS4, DType::kU4, DType::kF8E4M3FN, DType::kF4E2M1}) {
    const Tensor data = run1("Cast", {small_numbers(DType::kF32, {3, 2, 20}, 4)}, {{"to", number_of(dtype)}});
    const Tensor s = scales({3, 1, 20});
    const Tensor y = first(run_microsoft("GatherBlockQuantized", {data, ints({1, 0}), s}, {{"block_size", std::int64_t{16}}, {"gather_axis", std::int64_t{1}}, {"quantize_axis", std::int64_t{1}}}));
    ASSERT_EQ(y.shape(), (Shape{3, 2, 20}));
    for (std::int64_t i = 0; i < y.size(); ++i) {
      const auto at = unravel(i, y.shape());
      EXPECT_FLOAT_EQ(static_cast<float>(y.at_as_double(i)), static_cast<float>(data.at_as_double(ravel({at[0], 1 - at[1], at[2]}, data.shape())) * s.at_as_double(at[0] * 20 + at[2])));
    }
  }
}

TEST(GatherBlockQuantized, NamesWhatDoesNotFit) {
  const Tensor data = bytes({4, 16}, 1), s = scales({4, 2}), at = ints({0});
  const Attributes good = {{"block_size", std::int64_t{16}}};
  EXPECT_TRUE(run_microsoft("GatherBlockQuantized", {data, at, s}, good).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, scales({4, 3})}, good).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, s}, {{"block_size", std::int64_t{20}}}).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, s}, {{"block_size", std::int64_t{0}}}).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, s}, {{"block_size", std::int64_t{16}}, {"bits", std::int64_t{5}}}).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, s}, {{"block_size", std::int64_t{16}}, {"gather_axis", std::int64_t{1}}}).ok());
  EXPECT_FALSE(run_microsoft("GatherBlockQuantized", {data, at, s, bytes({4, 2}, 1)}, good).ok());
}

TEST(QLinearReduceMean, RequantizesTheMean) {
  const Shape shape = {2, 3, 4, 5};
  for (const DType dtype : {DType::kU8, DType::kS8}) {
    const Tensor x = fill(dtype, shape, [&](std::int64_t i) { return static_cast<double>((i * 53) % 256 - (dtype == DType::kS8 ? 128 : 0)); });
    for (const std::vector<std::int64_t>& axes : std::vector<std::vector<std::int64_t>>{{}, {0}, {-1}, {1, 3}, {0, 1, 2, 3}}) {
      for (const std::int64_t keep : {0, 1}) {
        const float sx = 0.1f, sy = 0.07f;
        const double zx = 3, zy = dtype == DType::kS8 ? -5 : 120;
        Attributes attributes = {{"keepdims", keep}};
        if (!axes.empty()) attributes.push_back({"axes", axes});
        const Tensor y = first(run_microsoft("QLinearReduceMean", {x, Tensor::scalar(sx), fill(dtype, {}, [&](std::int64_t) { return zx; }), Tensor::scalar(sy), fill(dtype, {}, [&](std::int64_t) { return zy; })}, attributes));
        std::vector<bool> reduced(4, axes.empty());
        for (std::int64_t a : axes) reduced[static_cast<std::size_t>(a < 0 ? a + 4 : a)] = true;
        Shape kept = shape;
        for (std::size_t d = 0; d < 4; ++d) kept[d] = reduced[d] ? 1 : shape[d];
        std::vector<double> sums(static_cast<std::size_t>(elements(kept)));
        for (std::int64_t i = 0; i < x.size(); ++i) {
          auto at = unravel(i, shape);
          for (std::size_t d = 0; d < 4; ++d) at[d] = reduced[d] ? 0 : at[d];
          sums[static_cast<std::size_t>(ravel(at, kept))] += (x.at_as_double(i) - zx) * sx;
        }
        ASSERT_EQ(y.size(), elements(kept));
        ASSERT_EQ(y.rank(), keep != 0 ? 4 : 4 - static_cast<int>(std::count(reduced.begin(), reduced.end(), true)));
        const IntegerRange range = integer_range(dtype);
        for (std::int64_t i = 0; i < y.size(); ++i) {
          const double mean = sums[static_cast<std::size_t>(i)] / (static_cast<double>(x.size()) / static_cast<double>(elements(kept)));
          const double exact = std::clamp(mean / sy + zy, static_cast<double>(range.min), static_cast<double>(range.max));
          EXPECT_NEAR(y.at_as_double(i), exact, 0.501);
        }
      }
    }
  }
}

TEST(QLinearWhere, RequantizesEitherSideUnderBroadcasting) {
  const Tensor condition = fill(DType::kBool, {3, 1}, [](std::int64_t i) { return i % 2 == 0 ? 1 : 0; });
  const Tensor x = bytes({4}, 1), y = bytes({2, 3, 4}, 2);
  const auto u8 = [](int v) { return Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(v)); };
  const Tensor z = first(run_microsoft("QLinearWhere", {condition, x, Tensor::scalar(0.02f), u8(10), y, Tensor::scalar(0.05f), u8(100), Tensor::scalar(0.04f), u8(60)}));
  ASSERT_EQ(z.shape(), (Shape{2, 3, 4}));
  for (std::int64_t i = 0; i < z.size(); ++i) {
    const auto at = unravel(i, z.shape());
    const double real = at[1] % 2 == 0 ? (broadcast_at(x, at) - 10) * 0.02 : (y.at_as_double(i) - 100) * 0.05;
    EXPECT_NEAR(z.at_as_double(i), std::clamp(real / 0.04 + 60, 0.0, 255.0), 0.501);
  }
  EXPECT_FALSE(run_microsoft("QLinearWhere", {condition, bytes({5}, 1), Tensor::scalar(0.02f), u8(10), y, Tensor::scalar(0.05f), u8(100), Tensor::scalar(0.04f), u8(60)}).ok());
}

// Against the float operator on dequantized tables.
TEST(QEmbedLayerNormalization, EqualsItsFloatLayer) {
  const Tensor ids = fill(DType::kS32, {2, 3}, [](std::int64_t i) { return static_cast<double>(i * 2 % 7); });
  std::vector<Tensor> quantized = {ids, fill(DType::kS32, {2, 3}, [](std::int64_t i) { return static_cast<double>(i % 2); })}, real = quantized;
  const Shape shapes[] = {{7, 8}, {5, 8}, {2, 8}, {8}, {8}};
  std::vector<Tensor> by, zero;
  for (unsigned t = 0; t < 5; ++t) {
    const Tensor codes = bytes(shapes[t], t + 1);
    const double s = 0.01 * (t + 1), z = 90 + 10 * t;
    quantized.push_back(codes);
    real.push_back(fill(DType::kF32, shapes[t], [&](std::int64_t i) { return (codes.at_as_double(i) - z) * static_cast<double>(static_cast<float>(s)); }));
    by.push_back(Tensor::scalar(static_cast<float>(s)));
    zero.push_back(Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(z)));
  }
  quantized.push_back(Tensor());
  quantized.insert(quantized.end(), by.begin(), by.end());
  quantized.insert(quantized.end(), zero.begin(), zero.end());
  const Tensor found = first(run_microsoft("QEmbedLayerNormalization", quantized, {{"epsilon", 1e-5f}}, 2));
  const Tensor expected = first(run_microsoft("EmbedLayerNormalization", real, {{"epsilon", 1e-5f}}, 2));
  ASSERT_EQ(found.shape(), expected.shape());
  for (std::int64_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found.at_as_double(i), expected.at_as_double(i), 1e-4);
  quantized[0] = fill(DType::kS32, {2, 3}, [](std::int64_t) { return 7; });
  EXPECT_FALSE(run_microsoft("QEmbedLayerNormalization", quantized, {}, 2).ok());
}

// Against Attention on dequantized input and weights, with and without a past.
TEST(QAttention, EqualsItsFloatLayer) {
  const std::int64_t heads = 2, hidden = 8, inputs = 5;
  for (const bool with_past : {false, true}) {
    for (const std::int64_t causal : {0, 1}) {
      const Tensor x = bytes({2, 3, inputs}, 1), w = bytes({inputs, 3 * hidden}, 2), b = small_numbers(DType::kF32, {3 * hidden}, 3);
      const Tensor past = with_past ? small_numbers(DType::kF32, {2, 2, heads, 2, hidden / heads}, 4) : Tensor();
      const Attributes attributes = {{"num_heads", heads}, {"unidirectional", causal}};
      const auto u8 = [](int v) { return Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(v)); };
      const auto found = run_microsoft("QAttention", {x, w, b, Tensor::scalar(0.01f), Tensor::scalar(0.02f), Tensor(), u8(120), u8(130), past}, attributes, 2);
      ASSERT_TRUE(found.ok()) << found.error().to_string();
      const auto real = [](const Tensor& t, double s, double z) { return fill(DType::kF32, t.shape(), [&](std::int64_t i) { return (t.at_as_double(i) - z) * s; }); };
      const auto expected = run_microsoft("Attention", {real(x, 0.01, 120), real(w, 0.02, 130), b, Tensor(), past}, attributes, 2);
      ASSERT_TRUE(expected.ok());
      for (std::size_t o = 0; o < 2; ++o) {
        ASSERT_EQ((*found)[o].shape(), (*expected)[o].shape());
        for (std::int64_t i = 0; i < (*found)[o].size(); ++i) EXPECT_NEAR((*found)[o].at_as_double(i), (*expected)[o].at_as_double(i), 1e-4);
      }
    }
  }
  const Tensor x = bytes({2, 3, inputs}, 1), b = small_numbers(DType::kF32, {24}, 3);
  EXPECT_FALSE(run_microsoft("QAttention", {x, bytes({inputs, 23}, 2), b, Tensor::scalar(0.01f), Tensor::scalar(0.02f)}, {{"num_heads", heads}}).ok());
  EXPECT_FALSE(run_microsoft("QAttention", {x, bytes({inputs, 24}, 2), b, Tensor::scalar(0.01f), Tensor::scalar(0.02f)}).ok());
}

TEST(QGemm, AddsABiasThatDiffersByRow) {
  const Tensor a = bytes({3, 5}, 1), b = bytes({5, 4}, 2);
  const auto u8 = [](int v) { return Tensor::scalar<std::uint8_t>(static_cast<std::uint8_t>(v)); };
  for (const Shape& shape : {Shape{3, 4}, Shape{3, 1}, Shape{4}, Shape{1, 4}, Shape{}}) {
    const Tensor c = fill(DType::kS32, shape, [](std::int64_t i) { return static_cast<double>(i * 1000 - 3000); });
    const Tensor y = first(run_microsoft("QGemm", {a, Tensor::scalar(0.01f), u8(100), b, Tensor::scalar(0.02f), u8(110), c}));
    ASSERT_EQ(y.shape(), (Shape{3, 4}));
    for (std::int64_t i = 0; i < 12; ++i) {
      double sum = broadcast_at(c, unravel(i, {3, 4}));
      for (std::int64_t k = 0; k < 5; ++k) sum += (a.at_as_double(i / 4 * 5 + k) - 100) * (b.at_as_double(k * 4 + i % 4) - 110);
      EXPECT_NEAR(y.at_as_double(i), sum * 0.01 * 0.02, 1e-3);
    }
  }
}

}  // namespace
}  // namespace narrow::operators::testing
