#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/attention/linear_attention.h"

namespace narrow::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_floats(std::size_t n, std::mt19937& random, float scale = 1) {
  std::normal_distribution<float> draw(0, scale);
  std::vector<float> values(n);
  for (float& v : values) v = draw(random);
  return values;
}

struct Expected {
  std::vector<double> output, scores;
};

// By definition, in f64, every score held.
Expected by_definition(const AttentionProblem& p) {
  Expected expected;
  expected.output.resize(p.batch * p.query_heads * p.queries * p.value_size);
  for (std::int64_t b = 0; b < p.batch; ++b)
    for (std::int64_t h = 0; h < p.query_heads; ++h)
      for (std::int64_t i = 0; i < p.queries; ++i) {
        const std::int64_t g = h * p.key_heads / p.query_heads, position = (p.offsets ? p.offsets[b] : 0) + i;
        std::vector<double> raw(p.keys), capped(p.keys), biased(p.keys), probabilities(p.keys);
        double largest = p.sinks ? p.sinks[h] : -kInfinity, sum = 0;
        bool any = false;
        for (std::int64_t j = 0; j < p.keys; ++j) {
          double dot = 0;
          for (std::int64_t d = 0; d < p.head_size; ++d) dot += static_cast<double>(p.query.row(b, h, i)[d]) * p.key.row(b, g, j)[d];
          raw[j] = dot * p.scale;
          capped[j] = p.softcap != 0 ? p.softcap * std::tanh(raw[j] / p.softcap) : raw[j];
          bool seen = (!p.key_counts || j < p.key_counts[b]) && (p.left < 0 || j >= position - p.left) && (p.right < 0 || j <= position + p.right);
          double score = capped[j];
          for (const AttentionBias& bias : p.biases) {
            if (bias.data == nullptr) continue;
            const double added = j < bias.columns ? bias.data[b * bias.batch_stride + h * bias.head_stride + i * bias.row_stride + j * bias.column_stride] : -kInfinity;
            seen = seen && added != -kInfinity;
            score += added;
          }
          biased[j] = seen ? score : -kInfinity;
          any = any || seen;
          largest = std::max(largest, biased[j]);
        }
        for (std::int64_t j = 0; j < p.keys && any; ++j) sum += probabilities[j] = std::exp(biased[j] - largest);
        if (p.sinks) sum += std::exp(p.sinks[h] - largest);
        for (std::int64_t j = 0; j < p.keys && any; ++j) probabilities[j] /= sum;
        for (std::int64_t d = 0; d < p.value_size; ++d) {
          double y = 0;
          for (std::int64_t j = 0; j < p.keys; ++j) y += probabilities[j] * p.value.row(b, g, j)[d];
          expected.output[((b * p.query_heads + h) * p.queries + i) * p.value_size + d] = y;
        }
        const auto& kept = p.stage == ScoreStage::kRaw ? raw : p.stage == ScoreStage::kCapped ? capped : p.stage == ScoreStage::kBiased ? biased : probabilities;
        expected.scores.insert(expected.scores.end(), kept.begin(), kept.end());
      }
  return expected;
}

void expect_near(const std::vector<double>& expected, const float* found, const char* what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(expected[i], found[i]) << what << " " << i;
    } else {
      ASSERT_NEAR(expected[i], found[i], 2e-5 * std::max(1.0, std::fabs(expected[i]))) << what << " " << i;
    }
  }
}

// A random problem of the given sizes, with random masks, and the memory behind it.
struct Random {
  AttentionProblem p;
  std::vector<float> query, key, value, output, scores, sinks, biases[2];
  std::vector<std::int64_t> counts, offsets;

  Random(std::int64_t batch, std::int64_t key_heads, std::int64_t group, std::int64_t queries, std::int64_t keys, std::int64_t size, std::int64_t value_size, unsigned seed) {
    std::mt19937 random(seed);
    const auto yes = [&](int one_in) { return random() % one_in == 0; };
    const std::int64_t heads = key_heads * group;
    p = {.batch = batch, .query_heads = heads, .key_heads = key_heads, .queries = queries, .keys = keys, .head_size = size, .value_size = value_size, .scale = 0.3f};
    query = random_floats(batch * heads * queries * size, random);
    key = random_floats(batch * key_heads * keys * size, random);
    value = random_floats(batch * key_heads * keys * value_size, random);
    output.assign(batch * heads * queries * value_size, 99.0f);
    // Queries as [batch, length, heads · size], keys and values as [batch, heads, length, size].
    p.query = {query.data(), queries * heads * size, size, heads * size};
    p.key = {key.data(), key_heads * keys * size, keys * size, size};
    p.value = {value.data(), key_heads * keys * value_size, keys * value_size, value_size};
    p.output = {output.data(), heads * queries * value_size, queries * value_size, value_size};
    if (yes(3)) p.softcap = 1.5f;
    if (yes(2)) p.right = random() % 3;
    if (yes(3)) p.left = random() % 4;
    if (yes(2)) {
      for (std::int64_t b = 0; b < batch; ++b) counts.push_back(random() % (keys + 1));
      p.key_counts = counts.data();
    }
    if (yes(2)) {
      for (std::int64_t b = 0; b < batch; ++b) offsets.push_back(static_cast<std::int64_t>(random() % (keys + 3)) - 2);
      p.offsets = offsets.data();
    }
    if (yes(4)) {
      sinks = random_floats(heads, random);
      p.sinks = sinks.data();
    }
    for (int i = 0; i < 2; ++i) {
      if (!yes(2)) continue;
      const bool by_batch = yes(2), by_head = yes(2), by_row = yes(2);
      const std::int64_t columns = yes(3) ? random() % (keys + 1) : keys;
      biases[i] = random_floats((by_batch ? batch : 1) * (by_head ? heads : 1) * (by_row ? queries : 1) * columns, random);
      for (float& v : biases[i]) v = yes(4) ? -kInfinity : v;
      p.biases[i] = {biases[i].data(), by_batch ? columns * (by_row ? queries : 1) * (by_head ? heads : 1) : 0, by_head ? columns * (by_row ? queries : 1) : 0,
                     by_row ? columns : 0, 1, columns};
      if (biases[i].empty()) p.biases[i].data = &kInfinity;  // no column to read
    }
    if (yes(2)) {
      p.stage = static_cast<ScoreStage>(random() % 4);
      scores.assign(batch * heads * queries * keys, 99.0f);
      p.scores = scores.data();
    }
  }
};

TEST(Attention, EqualsItsDefinitionWhateverIsAskedFor) {
  const std::int64_t sizes[][7] = {{1, 1, 1, 1, 1, 1, 1}, {2, 2, 3, 5, 7, 4, 6}, {1, 2, 1, 130, 70, 8, 8}, {3, 1, 4, 1, 33, 16, 5}, {1, 1, 1, 70, 5000, 4, 4},
                                   {2, 1, 2, 9, 0, 4, 4}, {2, 1, 1, 0, 5, 4, 4}, {0, 1, 1, 3, 3, 4, 4}, {1, 1, 2, 3, 4, 0, 2}, {1, 2, 2, 4, 3, 2, 0}};
  base::ThreadPool one(1), three(3);
  for (const auto& s : sizes) {
    for (unsigned seed = 0; seed < 60; ++seed) {
      SCOPED_TRACE(testing::Message() << "queries " << s[3] << " keys " << s[4] << " seed " << seed);
      Random r(s[0], s[1], s[2], s[3], s[4], s[5], s[6], seed);
      ASSERT_TRUE(attention_f32(r.p, seed % 2 == 0 ? one : three).ok());
      const Expected expected = by_definition(r.p);
      expect_near(expected.output, r.output.data(), "output");
      if (r.p.scores != nullptr) expect_near(expected.scores, r.scores.data(), "scores");
      if (HasFatalFailure()) return;
      if (s[4] > 1000 && seed > 6) break;
    }
  }
}

TEST(Attention, AHiddenKeyMayHoldNaN) {
  Random r(1, 1, 1, 3, 4, 2, 2, 1);
  r.p = {.batch = 1, .query_heads = 1, .key_heads = 1, .queries = 3, .keys = 4, .head_size = 2, .value_size = 2, .query = r.p.query, .key = r.p.key, .value = r.p.value, .output = r.p.output};
  r.key[3 * 2] = std::numeric_limits<float>::quiet_NaN();
  const float mask[] = {0, 0, 0, -kInfinity};
  r.p.biases[0] = {mask, 0, 0, 0, 1, 4};
  base::ThreadPool pool(1);
  ASSERT_TRUE(attention_f32(r.p, pool).ok());
  for (float y : r.output) EXPECT_TRUE(std::isfinite(y));
}

TEST(Attention, DoesNotDependOnTheNumberOfThreads) {
  std::vector<float> before;
  for (int threads : {1, 2, 5}) {
    base::ThreadPool pool(threads);
    Random r(2, 2, 2, 150, 90, 16, 16, 3);
    ASSERT_TRUE(attention_f32(r.p, pool).ok());
    if (!before.empty()) {
      EXPECT_EQ(before, r.output);
    }
    before = r.output;
  }
}

// Rotation keeps the length of each pair and turns (1, 0) to (cos, sin).
TEST(Rotary, TurnsPairs) {
  base::ThreadPool pool(2);
  const float cosines[] = {1, 1, 0.6f, 0.8f}, sines[] = {0, 0, 0.8f, -0.6f};
  const std::int64_t rows[] = {1, 0};
  for (bool interleaved : {false, true}) {
    // One head of size 5: two pairs and a number that is left alone.
    std::vector<float> x = interleaved ? std::vector<float>{1, 0, 2, 3, 7, 4, 5, 6, 8, 9} : std::vector<float>{1, 2, 0, 3, 7, 4, 6, 5, 8, 9};
    const Heads<const float> in{x.data(), 10, 5, 5};
    const Heads<float> out{x.data(), 10, 5, 5};
    rotary_f32({.batch = 1, .heads = 1, .length = 2, .head_size = 5, .half = 2, .interleaved = interleaved, .input = in, .output = out, .cosines = cosines, .sines = sines, .angle_rows = rows}, pool);
    const float a = 2 * 0.8f - 3 * -0.6f, b = 3 * 0.8f + 2 * -0.6f;
    const std::vector<float> expected = interleaved ? std::vector<float>{0.6f, 0.8f, a, b, 7, 4, 5, 6, 8, 9} : std::vector<float>{0.6f, a, 0.8f, b, 7, 4, 6, 5, 8, 9};
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(expected[i], x[i], 1e-6) << interleaved << " " << i;
  }
}

// Without decay and beta, output[t] = scale · sum over s <= t of (query[t] · key[s]) value[s].
TEST(LinearAttention, SumsWhatCameBefore) {
  std::mt19937 random(5);
  const std::int64_t batch = 2, heads = 4, key_heads = 2, length = 6, size = 3, value_size = 5;
  const auto query = random_floats(batch * length * heads * size, random), key = random_floats(batch * length * key_heads * size, random),
             value = random_floats(batch * length * key_heads * value_size, random);
  std::vector<float> state(batch * key_heads * size * value_size, 0.0f), output(batch * length * heads * value_size);
  LinearAttentionProblem p{.batch = batch, .query_heads = heads, .key_heads = key_heads, .length = length, .key_size = size, .value_size = value_size,
                           .query = {query.data(), length * heads * size, size, heads * size}, .key = {key.data(), length * key_heads * size, size, key_heads * size},
                           .value = {value.data(), length * key_heads * value_size, value_size, key_heads * value_size}, .scale = 0.5f, .state = state.data(),
                           .output = {output.data(), length * heads * value_size, value_size, heads * value_size}};
  base::ThreadPool pool(2);
  linear_attention_f32(p, pool);
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t t = 0; t < length; ++t)
        for (std::int64_t j = 0; j < value_size; ++j) {
          double y = 0;
          for (std::int64_t s = 0; s <= t; ++s) {
            double dot = 0;
            for (std::int64_t i = 0; i < size; ++i) dot += p.query.row(b, h, t)[i] * p.key.row(b, h / 2, s)[i];
            y += 0.5 * dot * p.value.row(b, h / 2, s)[j];
          }
          EXPECT_NEAR(y, p.output.row(b, h, t)[j], 1e-5);
        }
}

}  // namespace
}  // namespace narrow::kernels
