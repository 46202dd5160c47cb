#include "operators/attention_oracle.h"

namespace narrow::operators {
namespace {

using namespace testing;

const Tensor kNone;

TEST(AttentionOperator, GroupsHeadsInBothLayouts) {
  for (DType dtype : float_types()) {
    const double tolerance = dtype == DType::kBF16 ? 3e-2 : dtype == DType::kF16 ? 4e-3 : 1e-5;
    for (const std::int64_t queries : {1, 3}) {
      const Oracle oracle{random_normal(dtype, {2, 4, queries, 8}, 1), random_normal(dtype, {2, 2, 5, 8}, 2), random_normal(dtype, {2, 2, 5, 6}, 3)};
      const std::vector<double> expected = oracle.run();
      const auto split = run("Attention", {oracle.query, oracle.key, oracle.value});
      ASSERT_TRUE(split.ok()) << split.error().to_string();
      EXPECT_EQ(split->front().shape(), (Shape{2, 4, queries, 6}));
      EXPECT_EQ(split->front().dtype(), dtype);
      expect_near(expected, split->front(), tolerance);
      const auto merged = run("Attention", {merged_heads(oracle.query), merged_heads(oracle.key), merged_heads(oracle.value)},
                              {{"q_num_heads", std::int64_t{4}}, {"kv_num_heads", std::int64_t{2}}});
      ASSERT_TRUE(merged.ok()) << merged.error().to_string();
      EXPECT_EQ(merged->front().shape(), (Shape{2, queries, 24}));
      expect_near(merged_heads(expected, {2, 4, queries, 6}), merged->front(), tolerance);
    }
  }
}

TEST(AttentionOperator, MasksBroadcastAndMayBeShort) {
  Oracle oracle{random_normal(DType::kF32, {2, 3, 4, 8}, 1), random_normal(DType::kF32, {2, 3, 5, 8}, 2), random_normal(DType::kF32, {2, 3, 5, 8}, 3)};
  const Shape shapes[] = {{5}, {1}, {4, 5}, {1, 5}, {4, 3}, {3, 4, 5}, {3, 1, 5}, {2, 1, 4, 5}, {2, 3, 4, 5}, {1, 3, 4, 2}, {4, 0}};
  for (const Shape& shape : shapes) {
    for (const bool boolean : {true, false}) {
      std::mt19937 random(7);
      const Tensor mask = boolean ? fill(DType::kBool, shape, [&](std::int64_t) { return random() % 3 != 0; }) : random_normal(DType::kF32, shape, 4);
      oracle.bias = [&](std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
        if (j >= shape.back()) return kHidden;
        Shape padded = shape;
        padded.insert(padded.begin(), 4 - padded.size(), 1);
        const double m = mask.at_as_double(ravel({padded[0] == 1 ? 0 : b, padded[1] == 1 ? 0 : h, padded[2] == 1 ? 0 : i, j}, padded));
        return boolean ? (m != 0 ? 0.0 : kHidden) : m;
      };
      const Tensor y = run1("Attention", {oracle.query, oracle.key, oracle.value, mask});
      ASSERT_TRUE(y.defined()) << to_string(shape);
      expect_near(oracle.run(), y, 1e-5);
    }
  }
}

TEST(AttentionOperator, CachesGrowAndCausalRowsStandAfterThem) {
  const Tensor past_key = random_normal(DType::kF32, {2, 1, 3, 8}, 4), past_value = random_normal(DType::kF32, {2, 1, 3, 4}, 5);
  const Tensor key = random_normal(DType::kF32, {2, 1, 4, 8}, 2), value = random_normal(DType::kF32, {2, 1, 4, 4}, 3);
  Oracle oracle{random_normal(DType::kF32, {2, 2, 4, 8}, 1), joined(past_key, key), joined(past_value, value)};
  oracle.bias = [](auto, auto, std::int64_t i, std::int64_t j) { return j <= i + 3 ? 0.0 : kHidden; };
  const auto y = run("Attention", {oracle.query, key, value, kNone, past_key, past_value}, {{"is_causal", std::int64_t{1}}}, 3);
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  expect_near(oracle.run(), (*y)[0], 1e-5);
  EXPECT_EQ(numbers(oracle.key), numbers((*y)[1]));
  EXPECT_EQ(numbers(oracle.value), numbers((*y)[2]));
}

TEST(AttentionOperator, CountedKeysAndWindows) {
  Oracle oracle{random_normal(DType::kF32, {3, 2, 2, 4}, 1), random_normal(DType::kF32, {3, 2, 6, 4}, 2), random_normal(DType::kF32, {3, 2, 6, 4}, 3)};
  const std::int64_t counts[] = {6, 3, 0};
  oracle.bias = [&](std::int64_t b, auto, std::int64_t i, std::int64_t j) {
    const std::int64_t position = counts[b] - 2 + i;
    return j < counts[b] && j >= position - 1 && j <= position ? 0.0 : kHidden;
  };
  const Tensor y = run1("Attention", {oracle.query, oracle.key, oracle.value, kNone, kNone, kNone, ints({6, 3, 0})},
                        {{"is_causal", std::int64_t{1}}, {"left_window_size", std::int64_t{1}}});
  expect_near(oracle.run(), y, 1e-5);
}

TEST(AttentionOperator, GivesScoresFromEachStage) {
  const Tensor q = random_normal(DType::kF32, {1, 1, 2, 4}, 1), k = random_normal(DType::kF32, {1, 1, 3, 4}, 2), v = random_normal(DType::kF32, {1, 1, 3, 4}, 3);
  const Tensor mask = Tensor::from<float>({1, 3}, {0.5f, -0.25f, -std::numeric_limits<float>::infinity()});
  std::vector<double> raw;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) {
      double dot = 0;
      for (int d = 0; d < 4; ++d) dot += q.at_as_double(i * 4 + d) * k.at_as_double(j * 4 + d);
      raw.push_back(dot * 0.5);
    }
  for (std::int64_t mode = 0; mode < 4; ++mode) {
    const auto y = run("Attention", {q, k, v, mask}, {{"softcap", 2.0f}, {"qk_matmul_output_mode", mode}}, 4);
    ASSERT_TRUE(y.ok());
    for (int i = 0; i < 2; ++i) {
      const auto capped = [&](int j) { return 2 * std::tanh(raw[i * 3 + j] / 2); };
      const double a = std::exp(capped(0) + 0.5), b = std::exp(capped(1) - 0.25);
      const double stages[4][3] = {{raw[i * 3], raw[i * 3 + 1], raw[i * 3 + 2]}, {capped(0), capped(1), capped(2)}, {capped(0) + 0.5, capped(1) - 0.25, kHidden}, {a / (a + b), b / (a + b), 0}};
      for (int j = 0; j < 3; ++j) {
        const double found = (*y)[3].at_as_double(i * 3 + j);
        if (std::isinf(stages[mode][j])) EXPECT_EQ(stages[mode][j], found);
        else EXPECT_NEAR(stages[mode][j], found, 1e-5) << mode;
      }
    }
  }
}

TEST(AttentionOperator, EmptyTensors) {
  for (const Shape& q : {Shape{0, 2, 3, 4}, Shape{2, 2, 0, 4}, Shape{2, 2, 3, 0}}) {
    Shape k = q;
    k[2] = 0;
    const Tensor y = run1("Attention", {random_normal(DType::kF32, q, 1), random_normal(DType::kF32, k, 2), random_normal(DType::kF32, k, 3)});
    EXPECT_EQ(y.shape(), q);
    for (double v : numbers(y)) EXPECT_EQ(v, 0);
  }
}

TEST(AttentionOperator, RefusesEmptyTensorsOfHugeDimensions) {
  const std::int64_t huge = std::int64_t{1} << 40;
  const auto empty = [](Shape s) { return *Tensor::create(DType::kF32, std::move(s)); };
  expect_refused(run("Attention", {empty({0, huge, huge, 4}), empty({0, huge, huge, 4}), empty({0, huge, huge, 4})}), "too large");
  expect_refused(run("Attention", {empty({1, 1, 1, 0}), empty({1, 1, huge, 0}), empty({1, 1, huge, 0})}), "too large");
  const Tensor x = random_normal(DType::kF32, {1, 1, 2, 4}, 1);
  expect_refused(run("Attention", {x, x, x, kNone, empty({1, 0, huge, huge}), empty({1, 0, huge, huge})}), "too large");
}

TEST(AttentionOperator, RefusesWhatDoesNotFit) {
  const auto t = [](Shape s) { return random_normal(DType::kF32, s, 1); };
  const Tensor q = t({2, 4, 3, 8}), k = t({2, 2, 5, 8}), v = t({2, 2, 5, 8});
  const Attributes none;
  expect_refused(run("Attention", {t({2, 3, 8}), t({2, 3, 8}), t({2, 3, 8})}), "numbers of heads");
  expect_refused(run("Attention", {q, t({2, 3, 5, 8}), t({2, 3, 5, 8})}), "do not go together");
  expect_refused(run("Attention", {q, t({2, 0, 5, 8}), t({2, 0, 5, 8})}), "do not go together");
  expect_refused(run("Attention", {q, t({2, 2, 5, 7}), v}), "do not go together");
  expect_refused(run("Attention", {q, k, t({2, 2, 6, 8})}), "do not go together");
  expect_refused(run("Attention", {q, t({1, 2, 5, 8}), v}), "do not go together");
  expect_refused(run("Attention", {q, t({2, 5, 16}), v}, {{"kv_num_heads", std::int64_t{2}}}), "do not go together");
  expect_refused(run("Attention", {t({3}), k, v}), "rank 3 or 4");
  expect_refused(run("Attention", {q, k, v, t({3, 6})}), "broadcast");
  expect_refused(run("Attention", {q, k, v, t({2, 5})}), "broadcast");
  expect_refused(run("Attention", {q, k, v, t({1, 1, 1, 1, 5})}), "broadcast");
  expect_refused(run("Attention", {q, k, v, kNone, t({2, 2, 3, 8})}), "together");
  expect_refused(run("Attention", {q, k, v, kNone, t({2, 2, 3, 8}), t({2, 2, 2, 8})}), "differ in length");
  expect_refused(run("Attention", {q, k, v, kNone, t({2, 2, 3, 7}), t({2, 2, 3, 8})}), "past state");
  expect_refused(run("Attention", {q, k, v, kNone, kNone, kNone, ints({1, 6})}), "0 to the 5 keys");
  expect_refused(run("Attention", {q, k, v, kNone, kNone, kNone, ints({1, -1})}), "0 to the 5 keys");
  expect_refused(run("Attention", {q, k, v, kNone, kNone, kNone, ints({1})}), "nonpad_kv_seqlen");
  expect_refused(run("Attention", {ints({1}), k, v}), "'n'");
  for (const std::int64_t heads : {std::int64_t{0}, std::int64_t{-4}, std::int64_t{3}, std::int64_t{1} << 31, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    const Attributes attributes = {{"q_num_heads", heads}, {"kv_num_heads", heads}};
    expect_refused(run("Attention", {t({2, 3, 8}), t({2, 3, 8}), t({2, 3, 8})}, attributes), "heads");
    EXPECT_FALSE(infer("Attention", {f32({2, 3, 8}), f32({2, 3, 8}), f32({2, 3, 8})}, attributes).status.ok());
  }
  for (const char* name : {"qk_matmul_output_mode", "softmax_precision", "left_window_size", "right_window_size"}) {
    for (const std::int64_t value : {std::int64_t{-2}, std::numeric_limits<std::int64_t>::min()}) {
      expect_refused(run("Attention", {q, k, v}, {{name, value}}), name);
    }
  }
  expect_refused(run("Attention", {q, k, v}, {{"softcap", -1.0f}}), "softcap");
  expect_refused(run("Attention", {q, k, v}, {{"softcap", std::nanf("")}}), "softcap");
  // The widest window is no window.
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(numbers(run1("Attention", {q, k, v}, {{"left_window_size", huge}, {"right_window_size", huge}})), numbers(run1("Attention", {q, k, v})));
}

TEST(AttentionOperator, InfersTypes) {
  const auto at = [](std::size_t output, const std::vector<graph::Type>& types, Attributes attributes = {}) { return inferred("Attention", types, attributes, {}, output, 4); };
  const std::vector<graph::Type> split = {f32({sym("b"), 4, sym("s"), 8}), f32({sym("b"), 2, sym("t"), 8}), f32({sym("b"), 2, sym("t"), 6})};
  EXPECT_EQ(at(0, split), "f32[b,4,s,6]");
  EXPECT_EQ(at(1, split), "f32[b,2,t,8]");
  EXPECT_EQ(at(2, split), "f32[b,2,t,6]");
  EXPECT_EQ(at(3, split), "f32[b,4,s,t]");
  const Attributes heads = {{"q_num_heads", std::int64_t{4}}, {"kv_num_heads", std::int64_t{2}}};
  const std::vector<graph::Type> merged = {f32({sym("b"), sym("s"), 32}), f32({sym("b"), 5, 16}), f32({sym("b"), 5, 12})};
  EXPECT_EQ(at(0, merged, heads), "f32[b,s,24]");
  EXPECT_EQ(at(3, merged, heads), "f32[b,4,s,5]");
  EXPECT_EQ(at(0, {f32({1, 4, 3, 8}), f32({1, 3, 3, 8}), f32({1, 3, 3, 8})}), "error: node 'n' (Attention): 4 query heads cannot share 3 key heads");
  EXPECT_EQ(at(0, {graph::Type::tensor(DType::kF32), f32({1, 3, 3, 8}), f32({1, 3, 3, 8})}), "f32[*]");
}

// ---- RotaryEmbedding ----

TEST(RotaryEmbeddingOperator, BothOrdersOfInputsAgree) {
  const Tensor x = random_normal(DType::kF32, {2, 3, 4, 8}, 1), angles = random_normal(DType::kF32, {10, 4}, 2);
  const auto mapped = [&](double (*f)(double)) { return fill(DType::kF32, {10, 4}, [&](std::int64_t i) { return f(angles.at_as_double(i)); }); };
  const Tensor cosines = mapped(std::cos), sines = mapped(std::sin), positions = ints({0, 3, 9, 1, 2, 2, 5, 7}).reshaped({2, 4});
  for (const std::int64_t interleaved : {0, 1}) {
    const Attributes attributes = {{"interleaved", interleaved}};
    const Tensor y = run1("RotaryEmbedding", {x, cosines, sines, positions}, attributes);
    const Tensor merged = run1("RotaryEmbedding", {merged_heads(x), cosines, sines, positions}, {{"interleaved", interleaved}, {"num_heads", std::int64_t{3}}});
    EXPECT_EQ(numbers(merged_heads(y)), numbers(merged));
    std::vector<double> expected;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const auto at = unravel(i, x.shape());
      const std::int64_t pair = interleaved != 0 ? at[3] / 2 : at[3] % 4;
      const bool second = interleaved != 0 ? at[3] % 2 == 1 : at[3] >= 4;
      const std::int64_t other = i + (second ? -1 : 1) * (interleaved != 0 ? 1 : 4);
      const double angle = angles.at_as_double(positions.to_int64()[at[0] * 4 + at[2]] * 4 + pair);
      expected.push_back(x.at_as_double(i) * std::cos(angle) + x.at_as_double(other) * std::sin(angle) * (second ? 1 : -1));
    }
    expect_near(expected, y, 1e-5);
    graph::Node node = make_node("RotaryEmbedding", 4, 1, attributes);
    node.domain = "com.microsoft";
    const Tensor* inputs[] = {&x, &positions, &cosines, &sines};
    const auto microsoft = evaluate_node(node, inputs);
    ASSERT_TRUE(microsoft.ok()) << microsoft.error().to_string();
    EXPECT_EQ(numbers(y), numbers(microsoft->front()));
  }
}

TEST(RotaryEmbeddingOperator, RefusesWhatDoesNotFit) {
  const auto t = [](Shape s) { return random_normal(DType::kF32, s, 1); };
  const Tensor x = t({2, 3, 4, 8}), angles = t({10, 4}), positions = ints({0, 3, 9, 1, 2, 2, 5, 7}).reshaped({2, 4});
  expect_refused(run("RotaryEmbedding", {x, angles, t({10, 3}), positions}), "the same of rank");
  expect_refused(run("RotaryEmbedding", {x, angles, angles}), "of rank 3");
  expect_refused(run("RotaryEmbedding", {x, t({10, 5}), t({10, 5}), positions}), "does not fit");
  expect_refused(run("RotaryEmbedding", {x, t({10, 3}), t({10, 3}), positions}), "does not fit");
  expect_refused(run("RotaryEmbedding", {x, t({9, 4}), t({9, 4}), positions}), "position 9");
  expect_refused(run("RotaryEmbedding", {x, angles, angles, ints({1, 2})}), "position_ids");
  expect_refused(run("RotaryEmbedding", {t({2, 4, 24}), angles, angles, positions}), "num_heads");
  expect_refused(run("RotaryEmbedding", {t({2, 4, 24}), angles, angles, positions}, {{"num_heads", std::int64_t{5}}}), "5 heads");
  for (const char* name : {"num_heads", "rotary_embedding_dim"}) {
    expect_refused(run("RotaryEmbedding", {x, angles, angles, positions}, {{name, std::int64_t{-1}}}), name);
    expect_refused(run("RotaryEmbedding", {x, angles, angles, positions}, {{name, std::numeric_limits<std::int64_t>::max()}}), name);
  }
  EXPECT_EQ(run1("RotaryEmbedding", {t({0, 3, 4, 8}), angles, angles, ints({}).reshaped({0, 4})}).shape(), (Shape{0, 3, 4, 8}));
}

}  // namespace
}  // namespace narrow::operators
