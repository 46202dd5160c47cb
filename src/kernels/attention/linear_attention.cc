#include "kernels/attention/linear_attention.h"

#include <algorithm>
#include <cmath>

namespace narrow::kernels {
namespace {

// y[j] += factor · x[j].
void accumulate(float* y, const float* x, std::int64_t n, float factor) {
  for (std::int64_t j = 0; j < n; ++j) y[j] += factor * x[j];
}

// One key head of one batch, and the query heads that read it.
void run_head(const LinearAttentionProblem& p, std::int64_t batch, std::int64_t head) {
  float* state = p.state + (batch * p.key_heads + head) * p.key_size * p.value_size;
  const std::int64_t group = p.query_heads / p.key_heads;
  for (std::int64_t t = 0; t < p.length; ++t) {
    const float* key = p.key.row(batch, head, t);
    if (p.decay.data != nullptr) {
      const float* decay = p.decay.row(batch, head, t);
      for (std::int64_t i = 0; i < p.key_size; ++i) {
        const float factor = std::exp(decay[p.decay_size == 1 ? 0 : i]);
        for (std::int64_t j = 0; j < p.value_size; ++j) state[i * p.value_size + j] *= factor;
      }
    }
    // The first query head's output holds the value to write until it is read.
    float* written = p.output.row(batch, head * group, t);
    std::copy_n(p.value.row(batch, head, t), p.value_size, written);
    if (p.beta.data != nullptr) {
      for (std::int64_t i = 0; i < p.key_size; ++i) accumulate(written, state + i * p.value_size, p.value_size, -key[i]);
      const float beta = *p.beta.row(batch, head, t);
      for (std::int64_t j = 0; j < p.value_size; ++j) written[j] *= beta;
    }
    for (std::int64_t i = 0; i < p.key_size; ++i) accumulate(state + i * p.value_size, written, p.value_size, key[i]);
    for (std::int64_t h = head * group; h < (head + 1) * group; ++h) {
      const float* query = p.query.row(batch, h, t);
      float* y = p.output.row(batch, h, t);
      std::fill_n(y, p.value_size, 0.0f);
      for (std::int64_t i = 0; i < p.key_size; ++i) accumulate(y, state + i * p.value_size, p.value_size, p.scale * query[i]);
    }
  }
}

}  // namespace

void linear_attention_f32(const LinearAttentionProblem& p, base::ThreadPool& pool) {
  pool.parallel_for(static_cast<std::size_t>(p.batch * p.key_heads), [&](std::size_t job, int) {
    run_head(p, static_cast<std::int64_t>(job) / p.key_heads, static_cast<std::int64_t>(job) % p.key_heads);
  });
}

}  // namespace narrow::kernels
