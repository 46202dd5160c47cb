// Scaled dot-product attention of f32 heads, and rotary position embedding.
//
// Heads are seen through strides, so that [batch, length, heads · size] and [batch, heads, length, size] need no copy.
// Scores exist for one block of query rows a thread at a time: memory grows with the keys, not with queries × keys.
#pragma once

#include <array>
#include <cstdint>

#include "base/thread_pool.h"
#include "narrow/result.h"

namespace narrow::kernels {

// Rows of `size` contiguous numbers, at batch · batch_stride + head · head_stride + row · row_stride.
template <typename T>
struct Heads {
  T* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0;

  T* row(std::int64_t batch, std::int64_t head, std::int64_t index) const {
    return data + batch * batch_stride + head * head_stride + index * row_stride;
  }
};

// Added to the scores; a stride of 0 repeats. Keys from `columns` on count as -infinity.
struct AttentionBias {
  const float* data = nullptr;  // null: no bias
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0, column_stride = 0;
  std::int64_t columns = 0;
};

// What `scores` receives: scale · q·k, the same after the soft cap, after bias and masks too, or the probabilities.
enum class ScoreStage { kRaw, kCapped, kBiased, kProbabilities };

// output[b, h, i] = sum over keys j of softmax(cap(scale · query[b, h, i] · key[b, g, j]) + biases) · value[b, g, j], where
// g = h / (query_heads / key_heads) and cap(x) = softcap · tanh(x / softcap) for a softcap other than 0.
//
// Query i of batch b stands at position p = offsets[b] + i. It sees key j when j < key_counts[b] and
// p - left <= j <= p + right. A row that sees no key, or whose biases are all -infinity, gives 0.
struct AttentionProblem {
  std::int64_t batch = 0, query_heads = 0, key_heads = 0, queries = 0, keys = 0, head_size = 0, value_size = 0;
  Heads<const float> query, key, value;
  Heads<float> output;
  float scale = 1, softcap = 0;
  std::array<AttentionBias, 2> biases;
  const std::int64_t* key_counts = nullptr;  // one a batch, in [0, keys]; null: all keys
  const std::int64_t* offsets = nullptr;     // one a batch; null: 0
  std::int64_t left = -1, right = -1;        // negative: no limit; else at most 2^40
  const float* sinks = nullptr;              // one a query head: exp(sink) is added to the softmax's denominator
  float* scores = nullptr;                   // [batch, query_heads, queries, keys], or null
  ScoreStage stage = ScoreStage::kRaw;
};

// Precondition: key_heads divides query_heads; every view covers its shape. Errors: resource_exhausted, internal.
Status attention_f32(const AttentionProblem& problem, base::ThreadPool& pool);

// Rotates the first 2 · half numbers of each row by the angles of its position and copies the others. Pairs are
// (i, i + half), or (2i, 2i + 1) when interleaved. The cosines of a row stand at cosines + angle_rows[b · length + i] · half.
struct RotaryProblem {
  std::int64_t batch = 0, heads = 0, length = 0, head_size = 0, half = 0;
  bool interleaved = false;
  Heads<const float> input;
  Heads<float> output;  // may be the input
  const float* cosines = nullptr;
  const float* sines = nullptr;
  const std::int64_t* angle_rows = nullptr;
};
void rotary_f32(const RotaryProblem& problem, base::ThreadPool& pool);

}  // namespace narrow::kernels
