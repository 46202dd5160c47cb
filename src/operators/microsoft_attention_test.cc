#include "operators/attention_oracle.h"

namespace narrow::operators {
namespace {

using namespace testing;

const Tensor kNone;

Tensor t(Shape shape, unsigned seed = 1) { return random_normal(DType::kF32, shape, seed); }

Attributes heads(std::int64_t n) { return {{"num_heads", n}}; }

// What MultiHeadAttention gives for unpacked inputs, without options.
TEST(MultiHeadAttention, PackedAndUnpackedAgree) {
  const Oracle oracle{t({2, 3, 4, 5}, 1), t({2, 3, 4, 5}, 2), t({2, 3, 4, 5}, 3)};
  const std::vector<double> expected = merged_heads(oracle.run(), {2, 3, 4, 5});
  const Tensor *q = &oracle.query, *k = &oracle.key, *v = &oracle.value;
  // [batch, length, heads, count, size]
  const auto packed = [&](std::vector<const Tensor*> parts) {
    const auto count = static_cast<std::int64_t>(parts.size());
    return fill(DType::kF32, {2, 4, 3, count, 5}, [&](std::int64_t i) {
      const auto at = unravel(i, {2, 4, 3, count, 5});
      return parts[at[3]]->at_as_double(ravel({at[0], at[2], at[1], at[4]}, q->shape()));
    });
  };
  const std::vector<Tensor> forms[] = {{merged_heads(*q), merged_heads(*k), merged_heads(*v)}, {merged_heads(*q), *k, *v}, {merged_heads(*q), packed({k, v})}, {packed({q, k, v})}};
  const Tensor bias = t({45}, 9);
  std::vector<double> biased;
  for (const auto& form : forms) {
    const auto y = run_microsoft("MultiHeadAttention", form, heads(3));
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    expect_near(expected, y->front(), 1e-5);
    std::vector<Tensor> with_bias = form;
    with_bias.resize(3);
    with_bias.push_back(bias);
    const auto z = run_microsoft("MultiHeadAttention", with_bias, heads(3));
    ASSERT_TRUE(z.ok()) << z.error().to_string();
    if (biased.empty()) biased = numbers(z->front());
    expect_near(biased, z->front(), 1e-6);
    EXPECT_NE(biased, expected);
  }
}

TEST(MultiHeadAttention, MasksCachesAndCausality) {
  const Tensor q = t({2, 2, 3, 4}, 1), k = t({2, 2, 3, 4}, 2), v = t({2, 2, 3, 4}, 3), past_k = t({2, 2, 2, 4}, 4), past_v = t({2, 2, 2, 4}, 5), added = t({1, 2, 3, 5}, 6);
  Oracle oracle{q, joined(past_k, k), joined(past_v, v)};
  const Tensor masks[] = {kNone, s32({2}, {5, 2}), s32({2, 5}, {1, 1, 0, 1, 1, 0, 1, 1, 1, 0}), s32({8}, {4, 3, 0, 0, 0, 0, 0, 0})};
  for (const Tensor& mask : masks) {
    for (const std::int64_t causal : {0, 1}) {
      oracle.bias = [&](std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
        if (causal != 0 && j > i + 2) return kHidden;
        const bool seen = !mask.defined() || (mask.rank() == 1 ? j < mask.to_int64()[b] : mask.to_int64()[b * 5 + j] != 0);
        return added.at_as_double((h * 3 + i) * 5 + j) + (seen ? 0.0 : -7.0);
      };
      const auto y = run_microsoft("MultiHeadAttention", {merged_heads(q), merged_heads(k), merged_heads(v), kNone, mask, added, past_k, past_v},
                                   {{"num_heads", std::int64_t{2}}, {"unidirectional", causal}, {"mask_filter_value", -7.0f}}, 4);
      ASSERT_TRUE(y.ok()) << y.error().to_string();
      expect_near(merged_heads(oracle.run(), {2, 2, 3, 4}), (*y)[0], 1e-5);
      EXPECT_EQ(numbers((*y)[1]), numbers(oracle.key));
      EXPECT_EQ(numbers((*y)[2]), numbers(oracle.value));
      EXPECT_EQ((*y)[3].shape(), (Shape{2, 2, 3, 5}));
    }
  }
}

TEST(MultiHeadAttention, RefusesWhatDoesNotFit) {
  const Tensor q = t({2, 3, 8}), k = t({2, 5, 8}), v = t({2, 5, 8});
  const auto refused = [](const std::vector<Tensor>& inputs, Attributes attributes, std::string_view part) { expect_refused(run_microsoft("MultiHeadAttention", inputs, std::move(attributes)), part); };
  refused({q, k}, heads(2), "value is missing");
  refused({q, kNone, v}, heads(2), "needs a key");
  refused({q}, heads(2), "packed");
  refused({q, t({2, 5, 6}), v}, heads(2), "do not go together");
  refused({q, k, t({2, 4, 8})}, heads(2), "do not go together");
  refused({q, t({1, 5, 8}), v}, heads(2), "do not go together");
  refused({q, t({2, 3, 5, 4}), t({2, 3, 5, 4})}, heads(2), "do not go together");
  refused({q, t({2, 5, 2, 3, 4})}, heads(2), "packed");
  refused({q, t({2, 5, 2, 2, 4}), v}, heads(2), "no place");
  refused({t({2, 3, 2, 2, 4})}, heads(2), "packed");
  refused({q, k, v, t({23})}, heads(2), "bias");
  refused({q, k, v, kNone, s32({3}, {1, 2, 3})}, heads(2), "mask has shape");
  refused({q, k, v, kNone, ints({1, 2})}, heads(2), "s32");
  refused({q, k, v, kNone, kNone, t({2, 2, 3, 4})}, heads(2), "attention_bias");
  refused({q, k, v, kNone, kNone, kNone, t({2, 2, 1, 4})}, heads(2), "together");
  refused({q, k, v, kNone, kNone, kNone, t({2, 2, 1, 4}), t({2, 2, 2, 4})}, heads(2), "differ in length");
  refused({q, k, v, kNone, kNone, kNone, kNone, kNone, s32({1}, {1})}, heads(2), "does not run it");
  refused({q, k, v}, {}, "num_heads is missing");
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-2}, std::int64_t{3}, std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::min()}) refused({q, k, v}, heads(n), "heads");
  for (const Shape& s : {Shape{0, 3, 8}, Shape{2, 0, 8}, Shape{2, 3, 0}}) {
    const auto y = run_microsoft("MultiHeadAttention", {t(s), t(s), t(s)}, heads(2));
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    EXPECT_EQ(y->front().shape(), s);
  }
}

// Attention projects its input; the same as MultiHeadAttention on projections made by hand.
TEST(MicrosoftAttention, ProjectsThenAttends) {
  const Tensor x = t({2, 3, 6}, 1), weights = t({6, 24}, 2), bias = t({24}, 3), mask = s32({4}, {3, 2, 0, 1}), past = t({2, 2, 2, 2, 4}, 4);
  const auto projection = [&](std::int64_t first) {
    return fill(DType::kF32, {2, 2, 3, 4}, [&](std::int64_t i) {
      const auto at = unravel(i, {2, 2, 3, 4});
      const std::int64_t column = first + at[1] * 4 + at[3];
      double sum = bias.at_as_double(column);
      for (std::int64_t d = 0; d < 6; ++d) sum += x.at_as_double((at[0] * 3 + at[2]) * 6 + d) * weights.at_as_double(d * 24 + column);
      return sum;
    });
  };
  const auto half = [&](std::int64_t which) { return fill(DType::kF32, {2, 2, 2, 4}, [&](std::int64_t i) { return past.at_as_double(which * 32 + i); }); };
  Oracle oracle{projection(0), joined(half(0), projection(8)), joined(half(1), projection(16))};
  oracle.bias = [&](std::int64_t b, auto, std::int64_t i, std::int64_t j) { return j > i + 2 ? kHidden : j < mask.to_int64()[b] && j >= mask.to_int64()[2 + b] ? 0.0 : -10000.0; };
  const auto y = run_microsoft("Attention", {x, weights, bias, mask, past}, {{"num_heads", std::int64_t{2}}, {"unidirectional", std::int64_t{1}}}, 2);
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  expect_near(merged_heads(oracle.run(), {2, 2, 3, 4}), (*y)[0], 1e-4);
  EXPECT_EQ((*y)[1].shape(), (Shape{2, 2, 2, 5, 4}));
  std::vector<double> present = numbers(oracle.key), values = numbers(oracle.value);
  present.insert(present.end(), values.begin(), values.end());
  expect_near(present, (*y)[1], 1e-5);
}

TEST(MicrosoftAttention, RefusesWhatDoesNotFit) {
  const Tensor x = t({2, 3, 6}), w = t({6, 24}), b = t({24});
  const auto refused = [](const std::vector<Tensor>& inputs, Attributes attributes, std::string_view part) { expect_refused(run_microsoft("Attention", inputs, std::move(attributes)), part); };
  refused({t({3, 6}), w, b}, heads(2), "do not go together");
  refused({x, t({5, 24}), b}, heads(2), "do not go together");
  refused({x, t({6, 25}), kNone}, heads(2), "25 columns");
  refused({x, w, t({23})}, heads(2), "bias");
  refused({x, w, b, s32({2, 4}, {1, 1, 1, 1, 1, 1, 1, 1})}, heads(2), "mask");
  refused({x, w, b, kNone, t({2, 2, 2, 1, 5})}, heads(2), "past");
  refused({x, w, b, kNone, t({2, 2, 1, 4})}, heads(2), "past");
  refused({x, w, b}, {{"num_heads", std::int64_t{2}}, {"qkv_hidden_sizes", std::vector<std::int64_t>{8, 8}}}, "qkv_hidden_sizes");
  refused({x, w, b}, {{"num_heads", std::int64_t{2}}, {"qkv_hidden_sizes", std::vector<std::int64_t>{8, 6, 10}}}, "24 columns");
  refused({x, w, b}, {{"num_heads", std::int64_t{2}}, {"qkv_hidden_sizes", std::vector<std::int64_t>{-8, -8, 40}}}, "hidden size");
  refused({x, w, b}, {{"num_heads", std::int64_t{2}}, {"do_rotary", std::int64_t{1}}}, "do_rotary");
  refused({x, w, b}, {{"num_heads", std::int64_t{2}}, {"past_present_share_buffer", std::int64_t{1}}}, "one buffer");
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-2}, std::int64_t{3}, std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::min()}) refused({x, w, b}, heads(n), "heads");
  const auto empty = run_microsoft("Attention", {t({0, 3, 6}), w, b}, heads(2));
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->front().shape(), (Shape{0, 3, 8}));
}

// ---- GroupQueryAttention ----

Attributes grouped(std::int64_t n, std::int64_t key_heads, Attributes more = {}) {
  more.push_back({"num_heads", n});
  more.push_back({"kv_num_heads", key_heads});
  return more;
}

// Two sequences that stand at different places of their caches each take one step.
TEST(GroupQueryAttention, StepsFromRaggedCaches) {
  const Tensor q = t({2, 4, 1, 8}, 1), k = t({2, 2, 1, 8}, 2), v = t({2, 2, 1, 8}, 3), past_k = t({2, 2, 6, 8}, 4), past_v = t({2, 2, 6, 8}, 5);
  const std::int64_t used[] = {4, 2};
  const auto placed = [&](const Tensor& past, const Tensor& fresh) {
    return fill(DType::kF32, {2, 2, 6, 8}, [&](std::int64_t i) {
      auto at = unravel(i, {2, 2, 6, 8});
      if (at[2] < used[at[0]]) return past.at_as_double(i);
      return at[2] == used[at[0]] ? fresh.at_as_double((at[0] * 2 + at[1]) * 8 + at[3]) : 0.0;
    });
  };
  Oracle oracle{q, placed(past_k, k), placed(past_v, v)};
  for (const std::int64_t window : {-1, 2}) {
    oracle.bias = [&](std::int64_t b, auto, auto, std::int64_t j) { return j <= used[b] && (window < 0 || j > used[b] - window) ? 0.0 : kHidden; };
    const auto y = run_microsoft("GroupQueryAttention", {merged_heads(q), merged_heads(k), merged_heads(v), past_k, past_v, s32({2}, {4, 2}), s32({1}, {5})},
                                 grouped(4, 2, {{"local_window_size", window}}), 3);
    ASSERT_TRUE(y.ok()) << y.error().to_string();
    expect_near(merged_heads(oracle.run(), {2, 4, 1, 8}), (*y)[0], 1e-5);
    EXPECT_EQ(numbers(oracle.key), numbers((*y)[1]));
    EXPECT_EQ(numbers(oracle.value), numbers((*y)[2]));
  }
}

// A prompt whose queries and keys are rotated inside equals one rotated before.
TEST(GroupQueryAttention, RotatesAsRotaryEmbeddingDoes) {
  const Tensor q = t({2, 3, 16}, 1), k = t({2, 3, 8}, 2), v = t({2, 3, 8}, 3), angles = t({9, 4}, 4);
  const auto mapped = [&](double (*f)(double)) { return fill(DType::kF32, {9, 4}, [&](std::int64_t i) { return f(angles.at_as_double(i)); }); };
  const Tensor cosines = mapped(std::cos), sines = mapped(std::sin), lengths = s32({2}, {2, 2}), total = s32({}, {3});
  for (const std::int64_t interleaved : {0, 1}) {
    const auto rotated = [&](const Tensor& x, std::int64_t n) {
      return run_microsoft("RotaryEmbedding", {x, ints({0}), cosines, sines}, {{"interleaved", interleaved}, {"num_heads", n}, {"rotary_embedding_dim", std::int64_t{8}}})->front();
    };
    const auto inside = run_microsoft("GroupQueryAttention", {q, k, v, kNone, kNone, lengths, total, cosines, sines}, grouped(2, 1, {{"do_rotary", std::int64_t{1}}, {"rotary_interleaved", interleaved}}), 3);
    const auto before = run_microsoft("GroupQueryAttention", {rotated(q, 2), rotated(k, 1), v, kNone, kNone, lengths, total}, grouped(2, 1), 3);
    ASSERT_TRUE(inside.ok()) << inside.error().to_string();
    ASSERT_TRUE(before.ok()) << before.error().to_string();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(numbers((*before)[i]), numbers((*inside)[i]));
  }
}

TEST(GroupQueryAttention, RefusesWhatDoesNotFit) {
  const Tensor q = t({2, 3, 16}), k = t({2, 3, 8}), v = t({2, 3, 8}), cache = t({2, 1, 4, 8}), lengths = s32({2}, {2, 2}), total = s32({1}, {3}), angles = t({9, 4});
  const auto refused = [](const std::vector<Tensor>& inputs, Attributes attributes, std::string_view part) { expect_refused(run_microsoft("GroupQueryAttention", inputs, std::move(attributes), 3), part); };
  const Attributes good = grouped(2, 1);
  refused({q, k, v, kNone, kNone, kNone, total}, good, "input 5");
  refused({q, k, v}, good, "input 5");
  refused({q, k, kNone, kNone, kNone, lengths, total}, good, "together");
  refused({q, t({2, 2, 8}), t({2, 2, 8}), kNone, kNone, lengths, total}, good, "do not go together");
  refused({q, k, v, cache, kNone, lengths, total}, good, "together");
  refused({q, k, v, t({2, 2, 4, 8}), t({2, 2, 4, 8}), lengths, total}, good, "past_key has shape");
  refused({t({2, 3, 17}), kNone, kNone, kNone, kNone, lengths, total}, good, "packed");
  refused({q, k, v, kNone, kNone, s32({1}, {2}), total}, good, "seqlens_k");
  for (const std::int32_t length : {-2, 3, std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::min()}) {
    refused({q, k, v, kNone, kNone, s32({2}, {2, length}), total}, good, "seqlens_k holds");
    if (length != 3) refused({q, k, v, cache, cache, s32({2}, {5, length}), s32({1}, {6})}, good, "seqlens_k holds");
  }
  for (const std::int32_t length : {-2, 0, 2, 8, std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::min()}) {
    refused({q, k, v, kNone, kNone, lengths, s32({1}, {length})}, good, "total_sequence_length is");
  }
  const Attributes rotary = grouped(2, 1, {{"do_rotary", std::int64_t{1}}});
  refused({q, k, v, kNone, kNone, lengths, total}, rotary, "cos_cache");
  refused({q, k, v, kNone, kNone, lengths, total, t({2, 4}), t({2, 4})}, rotary, "beyond the 2 rows");
  refused({q, k, v, kNone, kNone, lengths, total, t({9, 5}), t({9, 5})}, rotary, "too wide");
  refused({q, k, v, kNone, kNone, lengths, total, angles, angles, ints({0, 1, 2, 0, 1, 99}).reshaped({2, 3})}, rotary, "position 99");
  refused({q, k, v, kNone, kNone, lengths, total, kNone, kNone, kNone, t({2, 2, 3, 2})}, good, "attention_bias");
  refused({q, k, v, kNone, kNone, lengths, total, kNone, kNone, kNone, kNone, t({3})}, good, "head_sink");
  refused({q, k, v, kNone, kNone, lengths, total}, grouped(2, 1, {{"k_quant_type", std::string("PER_TENSOR")}}), "quantized cache");
  refused({q, k, v, kNone, kNone, lengths, total}, grouped(2, 1, {{"sliding_window_cache", std::int64_t{1}}}), "sliding_window_cache");
  refused({q, k, v, kNone, kNone, lengths, total}, grouped(3, 2), "multiple");
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-2}, std::int64_t{1} << 31, std::numeric_limits<std::int64_t>::min()}) {
    refused({q, k, v, kNone, kNone, lengths, total}, grouped(n, 1), "num_heads");
    refused({q, k, v, kNone, kNone, lengths, total}, grouped(2, n), "num_heads");
  }
  refused({q, k, v, kNone, kNone, lengths, total}, grouped((std::int64_t{1} << 31) - 1, 1), "heads");
  const auto empty = run_microsoft("GroupQueryAttention", {t({0, 3, 16}), t({0, 3, 8}), t({0, 3, 8}), kNone, kNone, s32({0}, {}), total}, good, 3);
  ASSERT_TRUE(empty.ok()) << empty.error().to_string();
  EXPECT_EQ((*empty)[1].shape(), (Shape{0, 1, 3, 8}));
}

}  // namespace
}  // namespace narrow::operators
