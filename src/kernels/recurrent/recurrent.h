// One direction of an LSTM, GRU or simple RNN over a whole sequence, as ONNX defines them.
#pragma once

#include <cstdint>
#include <vector>

#include "narrow/result.h"

namespace narrow::kernels {

enum class RecurrentKind { kLstm, kGru, kRnn };

struct Activation {
  enum class Function { kSigmoid, kTanh, kRelu, kAffine, kLeakyRelu, kThresholdedRelu, kScaledTanh, kHardSigmoid, kElu, kSoftsign, kSoftplus };
  Function function = Function::kTanh;
  float alpha = 0, beta = 0;
};
void apply(const Activation& activation, float* values, std::int64_t count);

struct RecurrentProblem {
  RecurrentKind kind = RecurrentKind::kLstm;
  std::int64_t steps = 0, batch = 0, input = 0, hidden = 0;
  bool reverse = false;
  Activation f, g, h;                // gates; candidate; cell output (LSTM). RNN uses f alone
  float clip = 0;                    // 0: none; bounds what enters an activation
  bool input_forget = false;         // LSTM: forget = 1 - input
  bool linear_before_reset = false;  // GRU
  // Element distance between steps and between batch entries in x and in y: either may be the outer dimension.
  std::int64_t x_step = 0, x_batch = 0, y_step = 0, y_batch = 0;

  std::int64_t gates() const { return kind == RecurrentKind::kLstm ? 4 : kind == RecurrentKind::kGru ? 3 : 1; }
};

// The two products, where they are not those of f32 weights.
class RecurrentProducts {
 public:
  virtual ~RecurrentProducts() = default;
  // y[rows, gates*hidden] = x[rows, input] * w^T + bias; `bias` may be null.
  virtual Status project(const float* x, std::int64_t rows, const float* bias, float* y) = 0;
  // The same of the states, [batch, hidden] * r^T, for gates [first, last); rows of y hold all gates.
  virtual Status advance(const float* state, std::int64_t batch, std::int64_t first, std::int64_t last, float* y) = 0;
};

// Memory that a caller keeps from run to run.
struct RecurrentScratch {
  std::vector<float> projected, recurrent, reset, bias;
};

// Row-major: weights w [gates*hidden, input], r [gates*hidden, hidden], in ONNX's order of gates (iofc, zrh).
struct RecurrentArguments {
  const float* x = nullptr;
  const float* w = nullptr;
  const float* r = nullptr;
  RecurrentProducts* products = nullptr;  // in place of w and r
  RecurrentScratch* scratch = nullptr;    // may be null
  const float* bias = nullptr;            // [2*gates*hidden]: of w, then of r; null: zeros
  const float* peephole = nullptr;        // LSTM [3*hidden] (i, o, f); null: none
  const std::int32_t* lengths = nullptr;  // [batch], each in [0, steps]; null: all `steps`
  float* y = nullptr;                     // may be null; steps beyond an entry's length become 0
  float* state = nullptr;                 // [batch, hidden]: initial on entry, final on return
  float* cell = nullptr;                  // LSTM, likewise
};

// Precondition: x_step == batch * x_batch or x_batch == steps * x_step (rows of x are contiguous).
// Errors: resource_exhausted.
Status run_recurrent(const RecurrentProblem& problem, const RecurrentArguments& arguments, int threads);

}  // namespace narrow::kernels
