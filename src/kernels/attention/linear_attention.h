// Linear attention: a state of [key size, value size] a head takes the place of the keys and values seen so far.
#pragma once

#include "kernels/attention/attention.h"

namespace narrow::kernels {

// For each position t, in order:
//   S *= exp(decay[t]) by rows, where decay is given;
//   v = value[t], or beta[t] · (value[t] - S^T key[t]), where beta is given;
//   S += key[t] v^T;   output[t] = scale · S^T query[t].
// Query head h reads the state of key head h / (query_heads / key_heads).
struct LinearAttentionProblem {
  std::int64_t batch = 0, query_heads = 0, key_heads = 0, length = 0, key_size = 0, value_size = 0;
  Heads<const float> query, key, value;
  Heads<const float> decay, beta;  // rows of decay_size (1 or key_size) and of 1; data null: not given
  std::int64_t decay_size = 1;
  float scale = 1;
  float* state = nullptr;          // [batch, key_heads, key_size, value_size], read and written
  Heads<float> output;
};

// Precondition: key_heads divides query_heads.
void linear_attention_f32(const LinearAttentionProblem& problem, base::ThreadPool& pool);

}  // namespace narrow::kernels
