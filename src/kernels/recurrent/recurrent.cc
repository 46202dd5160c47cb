// All input projections are one product over the sequence; each step adds the product with the state and activates.
#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <vector>

#include "base/checked.h"
#include "kernels/gemm/gemm.h"

namespace narrow::kernels {
namespace {

class Runner {
 public:
  Runner(const RecurrentProblem& problem, const RecurrentArguments& arguments, int threads)
      : p_(problem), a_(arguments), threads_(threads), width_(problem.gates() * problem.hidden),
        memory_(arguments.scratch != nullptr ? *arguments.scratch : own_) {}

  Status run() {
    const std::int64_t sizes[] = {p_.steps, p_.batch, width_};
    const auto size = base::checked_product(sizes);
    if (!size) return resource_exhausted("a recurrent layer's gates do not fit");
    projected_.resize(static_cast<std::size_t>(*size));
    recurrent_.resize(static_cast<std::size_t>(p_.batch * width_));
    NARROW_RETURN_IF_ERROR(project());
    std::int64_t longest = p_.steps;
    if (a_.lengths != nullptr) {
      longest = 0;
      for (std::int64_t n = 0; n < p_.batch; ++n) longest = std::max<std::int64_t>(longest, a_.lengths[n]);
      clear_padding();
    }
    for (std::int64_t step = 0; step < longest; ++step) NARROW_RETURN_IF_ERROR(advance(step));
    return {};
  }

 private:
  std::int64_t length(std::int64_t n) const { return a_.lengths == nullptr ? p_.steps : a_.lengths[n]; }

  // The step of the sequence that entry n reads as its `step`-th.
  std::int64_t time_of(std::int64_t n, std::int64_t step) const { return p_.reverse ? length(n) - 1 - step : step; }

  float* gates_at(std::int64_t n, std::int64_t time) {
    const bool step_outer = p_.x_step >= p_.x_batch * p_.batch;
    return projected_.data() + (step_outer ? time * p_.batch + n : n * p_.steps + time) * width_;
  }

  // What the biases of both products can add up front. The GRU's candidate keeps its recurrent bias apart when the
  // reset gate multiplies it.
  Status project() {
    const std::int64_t rows = p_.steps * p_.batch;
    memory_.bias.clear();
    if (a_.bias != nullptr) {
      memory_.bias.assign(a_.bias, a_.bias + width_);
      const std::int64_t added = p_.kind == RecurrentKind::kGru && p_.linear_before_reset ? 2 * p_.hidden : width_;
      for (std::int64_t i = 0; i < added; ++i) memory_.bias[static_cast<std::size_t>(i)] += a_.bias[width_ + i];
    }
    if (a_.products != nullptr) return a_.products->project(a_.x, rows, a_.bias == nullptr ? nullptr : memory_.bias.data(), projected_.data());
    if (a_.bias == nullptr) {
      std::fill(projected_.begin(), projected_.end(), 0.0f);
    } else {
      for (std::int64_t row = 0; row < rows; ++row) std::copy(memory_.bias.begin(), memory_.bias.end(), projected_.begin() + row * width_);
    }
    return gemm_f32(false, true, rows, width_, p_.input, 1.0f, a_.x, p_.input, a_.w, p_.input, 1.0f, projected_.data(), width_, threads_);
  }

  void clear_padding() {
    if (a_.y == nullptr) return;
    for (std::int64_t n = 0; n < p_.batch; ++n) {
      for (std::int64_t t = length(n); t < p_.steps; ++t) std::fill_n(a_.y + t * p_.y_step + n * p_.y_batch, p_.hidden, 0.0f);
    }
  }

  // recurrent_ = state * r^T, for gates [first, last).
  Status multiply_state(const float* state, std::int64_t first, std::int64_t last) {
    if (a_.products != nullptr) return a_.products->advance(state, p_.batch, first, last, recurrent_.data());
    return gemm_f32(false, true, p_.batch, (last - first) * p_.hidden, p_.hidden, 1.0f, state, p_.hidden, a_.r + first * p_.hidden * p_.hidden,
                    p_.hidden, 0.0f, recurrent_.data() + first * p_.hidden, width_, threads_);
  }

  void clip(float* values, std::int64_t count) const {
    if (p_.clip <= 0) return;
    for (std::int64_t i = 0; i < count; ++i) values[i] = std::clamp(values[i], -p_.clip, p_.clip);
  }

  void activate(const Activation& activation, float* values, std::int64_t count) const {
    clip(values, count);
    apply(activation, values, count);
  }

  Status advance(std::int64_t step) {
    const bool late_candidate = p_.kind == RecurrentKind::kGru && !p_.linear_before_reset;
    NARROW_RETURN_IF_ERROR(multiply_state(a_.state, 0, late_candidate ? 2 : p_.gates()));
    if (late_candidate) {
      reset_.assign(a_.state, a_.state + p_.batch * p_.hidden);
      for_each_active(step, [&](std::int64_t n, float* gates, const float* recurrent, float* state) {
        for (std::int64_t i = 0; i < 2 * p_.hidden; ++i) gates[i] += recurrent[i];
        activate(p_.f, gates, 2 * p_.hidden);
        for (std::int64_t i = 0; i < p_.hidden; ++i) reset_[static_cast<std::size_t>(n * p_.hidden + i)] = gates[p_.hidden + i] * state[i];
      });
      NARROW_RETURN_IF_ERROR(multiply_state(reset_.data(), 2, 3));
    }
    for_each_active(step, [&](std::int64_t n, float* gates, const float* recurrent, float* state) {
      switch (p_.kind) {
        case RecurrentKind::kLstm: lstm(gates, recurrent, state, a_.cell + n * p_.hidden); break;
        case RecurrentKind::kGru: gru(gates, recurrent, state); break;
        case RecurrentKind::kRnn:
          for (std::int64_t i = 0; i < p_.hidden; ++i) state[i] = gates[i] + recurrent[i];
          activate(p_.f, state, p_.hidden);
      }
      if (a_.y != nullptr) std::copy_n(state, p_.hidden, a_.y + time_of(n, step) * p_.y_step + n * p_.y_batch);
    });
    return {};
  }

  template <typename Body>
  void for_each_active(std::int64_t step, Body&& body) {
    for (std::int64_t n = 0; n < p_.batch; ++n) {
      if (step < length(n)) body(n, gates_at(n, time_of(n, step)), recurrent_.data() + n * width_, a_.state + n * p_.hidden);
    }
  }

  void lstm(float* gates, const float* recurrent, float* state, float* cell) const {
    const std::int64_t h = p_.hidden;
    float *in = gates, *out = gates + h, *forget = gates + 2 * h, *candidate = gates + 3 * h;
    for (std::int64_t i = 0; i < 4 * h; ++i) gates[i] += recurrent[i];
    if (a_.peephole != nullptr) {
      for (std::int64_t i = 0; i < h; ++i) {
        in[i] += a_.peephole[i] * cell[i];
        forget[i] += a_.peephole[2 * h + i] * cell[i];
      }
    }
    activate(p_.f, in, h);
    activate(p_.f, forget, h);
    activate(p_.g, candidate, h);
    if (p_.input_forget) {
      for (std::int64_t i = 0; i < h; ++i) forget[i] = 1 - in[i];
    }
    for (std::int64_t i = 0; i < h; ++i) cell[i] = forget[i] * cell[i] + in[i] * candidate[i];
    if (a_.peephole != nullptr) {
      for (std::int64_t i = 0; i < h; ++i) out[i] += a_.peephole[h + i] * cell[i];
    }
    activate(p_.f, out, h);
    std::copy_n(cell, h, state);
    apply(p_.h, state, h);
    for (std::int64_t i = 0; i < h; ++i) state[i] *= out[i];
  }

  void gru(float* gates, const float* recurrent, float* state) const {
    const std::int64_t h = p_.hidden;
    const float* update = gates;
    float* candidate = gates + 2 * h;
    if (p_.linear_before_reset) {
      for (std::int64_t i = 0; i < 2 * h; ++i) gates[i] += recurrent[i];
      activate(p_.f, gates, 2 * h);
      const float* bias = a_.bias == nullptr ? nullptr : a_.bias + width_ + 2 * h;
      for (std::int64_t i = 0; i < h; ++i) candidate[i] += gates[h + i] * (recurrent[2 * h + i] + (bias == nullptr ? 0.0f : bias[i]));
    } else {
      for (std::int64_t i = 0; i < h; ++i) candidate[i] += recurrent[2 * h + i];
    }
    activate(p_.g, candidate, h);
    for (std::int64_t i = 0; i < h; ++i) state[i] = (1 - update[i]) * candidate[i] + update[i] * state[i];
  }

  const RecurrentProblem& p_;
  const RecurrentArguments& a_;
  const int threads_;
  const std::int64_t width_;
  RecurrentScratch own_;
  RecurrentScratch& memory_;
  std::vector<float>& projected_ = memory_.projected;  // [rows of x, gates*hidden]
  std::vector<float>& recurrent_ = memory_.recurrent;  // [batch, gates*hidden]
  std::vector<float>& reset_ = memory_.reset;          // GRU: reset gate times state
};

}  // namespace

Status run_recurrent(const RecurrentProblem& problem, const RecurrentArguments& arguments, int threads) {
  try {
    return Runner(problem, arguments, threads).run();
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory in a recurrent layer");
  } catch (const std::length_error&) {
    return resource_exhausted("a recurrent layer's gates do not fit");
  }
}

}  // namespace narrow::kernels
