// com.microsoft's normalizations, GELU forms, products and Inverse, against their definitions in f64.
#include "operators/attention_oracle.h"

namespace narrow::operators {
namespace {

using namespace testing;

const Tensor kNone;

Tensor t(Shape shape, unsigned seed = 1) { return random_normal(DType::kF32, shape, seed); }
// Rows of `columns` numbers, normalized, times gamma plus beta.
std::vector<double> normalized(std::vector<double> x, std::int64_t columns, double epsilon, bool centred, const Tensor& gamma, const Tensor& beta) {
  for (std::size_t row = 0; row < x.size(); row += columns) {
    double mean = 0, square = 0;
    for (std::int64_t i = 0; i < columns; ++i) mean += centred ? x[row + i] / columns : 0;
    for (std::int64_t i = 0; i < columns; ++i) square += (x[row + i] - mean) * (x[row + i] - mean) / columns;
    for (std::int64_t i = 0; i < columns; ++i) {
      x[row + i] = (x[row + i] - mean) / std::sqrt(square + epsilon) * gamma.at_as_double(i) + (beta.defined() ? beta.at_as_double(i) : 0);
    }
  }
  return x;
}

TEST(SkipNormalization, AddsThenNormalizes) {
  const Tensor x = t({2, 3, 8}, 1), gamma = t({8}, 2), beta = t({8}, 3), bias = t({8}, 4);
  for (const bool simplified : {false, true}) {
    const std::vector<Shape> skips = simplified ? std::vector<Shape>{{2, 3, 8}} : std::vector<Shape>{{2, 3, 8}, {1, 3, 8}, {3, 8}};
    for (const Shape& shape : skips) {
      const Tensor skip = t(shape, 5);
      std::vector<double> sum;
      for (std::int64_t i = 0; i < x.size(); ++i) sum.push_back(x.at_as_double(i) + skip.at_as_double(i % skip.size()) + bias.at_as_double(i % 8));
      const std::vector<Tensor> inputs = simplified ? std::vector<Tensor>{x, skip, gamma, bias} : std::vector<Tensor>{x, skip, gamma, beta, bias};
      const auto y = run_microsoft(simplified ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization", inputs, {{"epsilon", 0.01f}}, 4);
      ASSERT_TRUE(y.ok()) << y.error().to_string();
      expect_near(normalized(sum, 8, 0.01, !simplified, gamma, simplified ? kNone : beta), (*y)[0], 1e-5);
      expect_near(sum, (*y)[3], 1e-6);
      EXPECT_EQ((*y)[1].shape(), (Shape{2, 3, 1}));
    }
  }
}

TEST(SkipNormalization, RefusesWhatDoesNotFit) {
  const Tensor x = t({2, 3, 8}), gamma = t({8});
  for (const Shape& skip : {Shape{2, 8}, Shape{3, 3, 8}, Shape{8}, Shape{}, Shape{2, 3, 7}, Shape{1, 2, 3, 8}}) expect_refused(run_microsoft("SkipLayerNormalization", {x, t(skip), gamma}), "skip has shape");
  expect_refused(run_microsoft("SkipLayerNormalization", {t({8}), t({8}), gamma}), "rank 2 or 3");
  expect_refused(run_microsoft("SkipLayerNormalization", {x, x, t({7})}), "input 2");
  expect_refused(run_microsoft("SkipLayerNormalization", {x, x, gamma, t({2, 4})}), "input 3");
  expect_refused(run_microsoft("SkipSimplifiedLayerNormalization", {x, x, gamma, t({9})}), "input 3");
  for (const Shape& s : {Shape{0, 3, 8}, Shape{2, 0, 8}, Shape{2, 3, 0}}) {
    const auto y = run_microsoft("SkipLayerNormalization", {t(s), t(s), t({s[2]})});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    EXPECT_EQ(y->front().shape(), s);
  }
}

TEST(SkipNormalization, SimplifiedHasItsDeviation) {
  const Tensor x = t({2, 3, 4}, 1), scale = t({4}, 2);
  const auto y = run("SimplifiedLayerNormalization", {x, scale}, {{"epsilon", 0.1f}}, 2);
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  expect_near(normalized(numbers(x), 4, 0.1f, false, scale, kNone), (*y)[0], 1e-5);
  double square = 0.1f;
  for (int i = 0; i < 4; ++i) square += x.at_as_double(i) * x.at_as_double(i) / 4;
  EXPECT_NEAR((*y)[1].at_as_double(0), 1 / std::sqrt(square), 1e-5);
}

TEST(EmbedNormalization, LooksUpAddsAndCounts) {
  const Tensor words = t({5, 4}, 1), positions = t({3, 4}, 2), segments = t({2, 4}, 3), gamma = t({4}, 4), beta = t({4}, 5);
  const std::vector<std::int32_t> ids = {0, 4, 2, 3}, kinds = {0, 1, 1, 0}, places = {2, 0};
  for (const bool with_segments : {true, false}) {
    for (const bool with_places : {true, false}) {
      std::vector<double> sum;
      for (int i = 0; i < 16; ++i) {
        const int token = i / 4, column = i % 4, place = with_places ? places[token % 2] : token % 2;
        sum.push_back(words.at_as_double(ids[token] * 4 + column) + positions.at_as_double(place * 4 + column) + (with_segments ? segments.at_as_double(kinds[token] * 4 + column) : 0));
      }
      const auto y = run_microsoft("EmbedLayerNormalization", {s32({2, 2}, ids), with_segments ? s32({2, 2}, kinds) : kNone, words, positions, with_segments ? segments : kNone, gamma, beta,
                                                               s32({2, 2}, {1, 1, 1, 0}), with_places ? s32({1, 2}, places) : kNone}, {{"epsilon", 1e-5f}}, 3);
      ASSERT_TRUE(y.ok()) << y.error().to_string();
      expect_near(normalized(sum, 4, 1e-5, true, gamma, beta), (*y)[0], 1e-4);
      EXPECT_EQ(numbers((*y)[1]), (std::vector<double>{2, 1}));
      expect_near(sum, (*y)[2], 1e-6);
    }
  }
}

TEST(EmbedNormalization, RefusesIdsBeyondTheTables) {
  const Tensor words = t({5, 4}), positions = t({3, 4}), gamma = t({4});
  const auto refused = [&](Tensor ids, Tensor table, Tensor kinds, Tensor segments, Tensor mask, Tensor places, std::string_view part) {
    expect_refused(run_microsoft("EmbedLayerNormalization", {ids, kinds, table, positions, segments, gamma, gamma, mask, places}, {}, 2), part);
  };
  const Tensor ids = s32({1, 2}, {0, 4});
  refused(s32({1, 2}, {0, 5}), words, kNone, kNone, kNone, kNone, "no row 5");
  refused(s32({1, 2}, {0, -1}), words, kNone, kNone, kNone, kNone, "no row -1");
  refused(s32({1, 4}, {0, 1, 2, 3}), words, kNone, kNone, kNone, kNone, "no row 3");
  refused(s32({2}, {0, 1}), words, kNone, kNone, kNone, kNone, "rank 2");
  refused(ids, t({5, 6}), kNone, kNone, kNone, kNone, "position_embedding");
  refused(ids, words, s32({1, 2}, {0, 0}), kNone, kNone, kNone, "together");
  refused(ids, words, s32({1, 2}, {0, 2}), t({2, 4}), kNone, kNone, "no row 2");
  refused(ids, words, kNone, kNone, s32({1, 3}, {1, 1, 1}), kNone, "mask");
  refused(ids, words, kNone, kNone, kNone, s32({1, 3}, {0, 0, 0}), "ids for position_embedding");
  expect_refused(run_microsoft("EmbedLayerNormalization", {ids, kNone, kNone, positions, kNone, gamma, gamma}), "input 2");
  expect_refused(run_microsoft("EmbedLayerNormalization", {ids}), "input 2");
  const auto empty = run_microsoft("EmbedLayerNormalization", {s32({0, 2}, {}), kNone, words, positions, kNone, gamma, gamma}, {}, 2);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->front().shape(), (Shape{0, 2, 4}));
}

double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

TEST(Gelu, AllFormsOverManyLengthsAndTypes) {
  const auto by_tanh = [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
  const auto by_sigmoid = [](double x) { return x / (1 + std::exp(-0.7 * x)); };
  for (DType dtype : float_types()) {
    const double tolerance = dtype == DType::kBF16 ? 5e-2 : dtype == DType::kF16 ? 5e-3 : 2e-6;
    for (const std::int64_t columns : {1, 7, 1500}) {
      const Tensor x = random_normal(dtype, {3, columns}, 1), bias = random_normal(dtype, {columns}, 2);
      const auto check = [&](const char* op, bool with_bias, auto f, Attributes attributes = {}) {
        std::vector<double> expected;
        for (std::int64_t i = 0; i < x.size(); ++i) expected.push_back(f(x.at_as_double(i) + (with_bias ? bias.at_as_double(i % columns) : 0)));
        const auto y = run_microsoft(op, with_bias ? std::vector<Tensor>{x, bias} : std::vector<Tensor>{x}, attributes);
        ASSERT_TRUE(y.ok()) << y.error().to_string();
        EXPECT_EQ(y->front().dtype(), dtype);
        expect_near(expected, y->front(), tolerance);
      };
      check("Gelu", false, gelu);
      check("BiasGelu", true, gelu);
      check("FastGelu", false, by_tanh);
      check("FastGelu", true, by_tanh);
      check("QuickGelu", false, by_sigmoid, {{"alpha", 0.7f}});
    }
  }
}

TEST(Gelu, GatesAndRefuses) {
  const Tensor x = t({2, 6}, 1), bias = t({6}, 2);
  std::vector<double> expected;
  for (std::int64_t row = 0; row < 2; ++row)
    for (std::int64_t i = 0; i < 3; ++i) expected.push_back((x.at_as_double(row * 6 + i) + bias.at_as_double(i)) * gelu(x.at_as_double(row * 6 + 3 + i) + bias.at_as_double(3 + i)));
  expect_near(expected, run_microsoft("BiasSplitGelu", {x, bias})->front(), 1e-6);
  expect_refused(run_microsoft("BiasSplitGelu", {t({2, 5}), t({5})}), "split in two");
  expect_refused(run_microsoft("BiasGelu", {x, t({5})}), "bias");
  expect_refused(run_microsoft("BiasGelu", {t({}), t({1})}), "bias");
  expect_refused(run_microsoft("FastGelu", {x, t({1, 6})}), "bias");
  EXPECT_EQ(run_microsoft("BiasGelu", {t({0, 6}), bias})->front().shape(), (Shape{0, 6}));
  EXPECT_EQ(run_microsoft("BiasSplitGelu", {t({2, 0}), t({0})})->front().shape(), (Shape{2, 0}));
}

TEST(FusedMatMul, TransposesMatricesAndBatches) {
  // Of a side's [batch, rows, columns]; transBatch stores the first of the matrix's dimensions before the batch.
  const Tensor a = t({2, 3, 4}, 1), b = t({2, 4, 5}, 2);
  std::vector<double> expected;
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t i = 0; i < 3; ++i)
      for (std::int64_t j = 0; j < 5; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < 4; ++k) sum += a.at_as_double((n * 3 + i) * 4 + k) * b.at_as_double((n * 4 + k) * 5 + j);
        expected.push_back(-0.5 * sum);
      }
  const auto stored = [](const Tensor& x, bool matrix, bool batch) {
    const std::int64_t rows = x.shape()[1], columns = x.shape()[2], first = matrix ? columns : rows, second = matrix ? rows : columns;
    const Shape shape = batch ? Shape{first, 2, second} : Shape{2, first, second};
    return fill(DType::kF32, shape, [&](std::int64_t i) {
      const auto at = unravel(i, shape);
      const std::int64_t n = batch ? at[1] : at[0], p = batch ? at[0] : at[1], q = at[2];
      return x.at_as_double((n * rows + (matrix ? q : p)) * columns + (matrix ? p : q));
    });
  };
  for (int flags = 0; flags < 16; ++flags) {
    const std::int64_t ta = flags & 1, tb = flags >> 1 & 1, ba = flags >> 2 & 1, bb = flags >> 3;
    const Attributes attributes = {{"alpha", -0.5f}, {"transA", ta}, {"transB", tb}, {"transBatchA", ba}, {"transBatchB", bb}};
    const auto y = run_microsoft("FusedMatMul", {stored(a, ta != 0, ba != 0), stored(b, tb != 0, bb != 0)}, attributes);
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    EXPECT_EQ(y->front().shape(), (Shape{2, 3, 5}));
    expect_near(expected, y->front(), 1e-5);
  }
}

TEST(FusedMatMul, VectorsBroadcastingAndErrors) {
  EXPECT_EQ(run_microsoft("FusedMatMul", {t({4}), t({4})}, {{"transA", std::int64_t{1}}, {"transB", std::int64_t{1}}})->front().shape(), Shape{});
  EXPECT_EQ(run_microsoft("FusedMatMul", {t({4}), t({3, 4, 2})})->front().shape(), (Shape{3, 2}));
  EXPECT_EQ(run_microsoft("FusedMatMul", {t({2, 1, 3, 4}), t({5, 4, 2})})->front().shape(), (Shape{2, 5, 3, 2}));
  EXPECT_EQ(run_microsoft("FusedMatMul", {t({0, 3, 4}), t({4, 2})})->front().shape(), (Shape{0, 3, 2}));
  expect_near({0, 0, 0, 0}, run_microsoft("FusedMatMul", {t({2, 0}), t({0, 2})})->front(), 0);
  expect_refused(run_microsoft("FusedMatMul", {t({3, 4}), t({5, 2})}), "cannot be multiplied");
  expect_refused(run_microsoft("FusedMatMul", {t({}), t({5, 2})}), "cannot be multiplied");
  expect_refused(run_microsoft("FusedMatMul", {t({3, 4}), random_normal(DType::kF16, {4, 2}, 1)}), "cannot be multiplied");
  expect_refused(run_microsoft("FusedMatMul", {t({2, 3, 4}), t({3, 4, 2})}), "'n'");
}

TEST(FusedProducts, EndInTheirActivation) {
  const Tensor a = t({3, 4}, 1), b = t({4, 5}, 2), c = t({5}, 3);
  const auto plain = run("Gemm", {a, b, c});
  ASSERT_TRUE(plain.ok());
  struct Row {
    const char* name;
    Attributes parameters;
    std::function<double(double)> f;
  };
  const Row rows[] = {{"Relu", {}, [](double x) { return std::max(x, 0.0); }},
                      {"Tanh", {}, [](double x) { return std::tanh(x); }},
                      {"Sigmoid", {}, [](double x) { return 1 / (1 + std::exp(-x)); }},
                      {"LeakyRelu", {{"activation_alpha", 0.3f}}, [](double x) { return x < 0 ? 0.3 * x : x; }},
                      {"Elu", {{"activation_alpha", 0.3f}}, [](double x) { return x < 0 ? 0.3 * std::expm1(x) : x; }},
                      {"Selu", {{"activation_alpha", 1.5f}, {"activation_gamma", 1.2f}}, [](double x) { return 1.2 * (x < 0 ? 1.5 * std::expm1(x) : x); }},
                      {"Softplus", {}, [](double x) { return std::log1p(std::exp(x)); }},
                      {"Softsign", {}, [](double x) { return x / (1 + std::fabs(x)); }},
                      {"ThresholdedRelu", {{"activation_alpha", 0.3f}}, [](double x) { return x > 0.3f ? x : 0; }},
                      {"HardSigmoid", {{"activation_alpha", 0.3f}, {"activation_beta", 0.6f}}, [](double x) { return std::clamp(0.3 * x + 0.6, 0.0, 1.0); }},
                      {"HardSwish", {}, [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }}};
  for (const Row& row : rows) {
    Attributes attributes = row.parameters;
    attributes.push_back({"activation", std::string(row.name)});
    const auto y = run_microsoft("FusedGemm", {a, b, c}, attributes);
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    std::vector<double> expected;
    for (double x : numbers(plain->front())) expected.push_back(row.f(x));
    expect_near(expected, y->front(), 1e-5);
  }
  expect_refused(run_microsoft("FusedGemm", {a, b, c}, {{"activation", std::string("Sine")}}), "'Sine'");
}

TEST(FusedProducts, ConvolutionAddsItsFourthInput) {
  const Tensor x = t({1, 2, 5, 5}, 1), w = t({3, 2, 3, 3}, 2), b = t({3}, 3), z = t({1, 3, 3, 3}, 4);
  const Tensor plain = run1("Conv", {x, w, b});
  const auto y = run_microsoft("FusedConv", {x, w, b, z}, {{"activation", std::string("Clip")}, {"activation_params", std::vector<float>{-0.5f, 0.75f}}});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  std::vector<double> expected;
  for (std::int64_t i = 0; i < plain.size(); ++i) expected.push_back(std::clamp(plain.at_as_double(i) + z.at_as_double(i), -0.5, 0.75));
  expect_near(expected, y->front(), 1e-5);
  const auto half = [](const Tensor& from) { return fill(DType::kF16, from.shape(), [&](std::int64_t i) { return from.at_as_double(i); }); };
  const auto in_half = run_microsoft("FusedConv", {half(x), half(w), half(b), half(z)}, {{"activation", std::string("Clip")}, {"activation_params", std::vector<float>{-0.5f, 0.75f}}});
  ASSERT_TRUE(in_half.ok()) << in_half.error().to_string();
  EXPECT_EQ(in_half->front().dtype(), DType::kF16);
  expect_near(expected, in_half->front(), 2e-2);
  expect_refused(run_microsoft("FusedConv", {x, w, b, half(z)}, {{"activation", std::string("Relu")}}), "input 3");
  expect_refused(run_microsoft("FusedConv", {x, w, b, t({1, 3, 1, 1})}, {{"activation", std::string("Relu")}}), "input 3");
  expect_refused(run_microsoft("FusedConv", {x, t({3, 3, 3, 3})}, {{"activation", std::string("Relu")}}), "channels");
}

TEST(Inverse, TimesTheMatrixIsTheIdentity) {
  for (const std::int64_t n : {1, 2, 5, 12}) {
    const Tensor x = random_normal(DType::kF64, {3, n, n}, static_cast<unsigned>(n));
    const auto y = run_microsoft("Inverse", {x});
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    for (std::int64_t m = 0; m < 3; ++m)
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < n; ++k) sum += x.at_as_double((m * n + i) * n + k) * y->front().at_as_double((m * n + k) * n + j);
          EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-9);
        }
  }
  // The first pivot is 0.
  expect_near({0, 1, 1, 0}, run_microsoft("Inverse", {Tensor::from<float>({2, 2}, {0, 1, 1, 0})})->front(), 1e-6);
  expect_refused(run_microsoft("Inverse", {Tensor::from<float>({2, 2}, {1, 2, 2, 4})}), "no inverse");
  expect_refused(run_microsoft("Inverse", {t({2, 3})}), "square");
  EXPECT_EQ(run_microsoft("Inverse", {t({0, 2, 2})})->front().shape(), (Shape{0, 2, 2}));
  EXPECT_EQ(run_microsoft("Inverse", {t({2, 0, 0})})->front().shape(), (Shape{2, 0, 0}));
}

TEST(LinearAttentionOperator, RefusesWhatDoesNotFit) {
  const Tensor q = t({2, 3, 8}), k = t({2, 3, 4}), v = t({2, 3, 6});
  const auto with = [](std::int64_t heads, std::int64_t key_heads, const char* rule) {
    return Attributes{{"q_num_heads", heads}, {"kv_num_heads", key_heads}, {"update_rule", std::string(rule)}};
  };
  ASSERT_TRUE(run("LinearAttention", {q, k, v}, with(4, 2, "linear"), 2).ok());
  expect_refused(run("LinearAttention", {q, k, v}, with(4, 2, "gated"), 2), "decay");
  expect_refused(run("LinearAttention", {q, k, v}, with(4, 2, "delta"), 2), "beta");
  expect_refused(run("LinearAttention", {q, k, v}, with(4, 2, "other"), 2), "update_rule");
  expect_refused(run("LinearAttention", {q, k, v, kNone, k}, with(4, 2, "linear"), 2), "decay");
  expect_refused(run("LinearAttention", {q, k, v, kNone, t({2, 3, 3})}, with(4, 2, "gated"), 2), "decay has shape");
  expect_refused(run("LinearAttention", {q, k, v, kNone, kNone, t({2, 3, 4})}, with(4, 2, "delta"), 2), "beta has shape");
  expect_refused(run("LinearAttention", {q, k, v, t({2, 2, 2, 2})}, with(4, 2, "linear"), 2), "past_state");
  expect_refused(run("LinearAttention", {q, t({2, 3, 8}), v}, with(4, 2, "linear"), 2), "do not go together");
  expect_refused(run("LinearAttention", {t({2, 3, 4, 2}), k, v}, with(4, 2, "linear"), 2), "rank 3");
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 31}) {
    expect_refused(run("LinearAttention", {q, k, v}, with(n, 2, "linear"), 2), "heads");
    expect_refused(run("LinearAttention", {q, k, v}, with(4, n, "linear"), 2), "heads");
  }
  EXPECT_EQ((*run("LinearAttention", {t({0, 3, 8}), t({0, 3, 4}), t({0, 3, 6})}, with(4, 2, "linear"), 2))[1].shape(), (Shape{0, 2, 2, 3}));
}

}  // namespace
}  // namespace narrow::operators
