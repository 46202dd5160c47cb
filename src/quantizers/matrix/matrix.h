// Weight matrices in few bits: every method that chooses the codes of one Linear, behind one call.
//
// A Linear computes y = W x with W [rows, columns], as torch keeps it. With H = sum of x xᵀ over the tokens that calibration
// saw, rounding W to Ŵ costs trace((W - Ŵ) H (W - Ŵ)ᵀ), the squared error of the layer's outputs: what methods minimise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "encodings/grouped_matrix.h"
#include "narrow/result.h"

namespace narrow::quantizers {

struct MatrixOptions {
  int bits = 4;                  // 2, 3, 4 or 8
  std::int64_t group_size = 128; // columns that share a scale; 0: the whole row
  bool symmetric = false;        // the zero is 2^(bits-1) everywhere
  encodings::ScaleType scale_type = encodings::ScaleType::kF16;
  // Each group's range is the one of least squared error, weighted by the diagonal of H (GPTQ: its root); otherwise minimum and
  // maximum.
  bool search = true;
  // GPTQ: columns in order of falling diagonal of H, each group's scale fixed before (static groups).
  bool act_order = true;
  // GPTQ: afterwards, sweeps of descent over codes and scales.
  int refine = 4;
  // How much of the errors of earlier layers this one makes up for: 0 none, 1 all that calibration saw, noise with it.
  double compensation = 0.5;
  double damping = 0.1;          // of the mean of H's diagonal, added to it; grows tenfold until a factorization holds
};

// What calibration saw at the input of a Linear.
struct InputStatistics {
  std::int64_t columns = 0, tokens = 0;
  std::vector<float> hessian;    // [columns, columns], sum of x xᵀ
  std::vector<float> mean_abs;   // [columns], mean of |x|
  std::vector<float> max_abs;    // [columns], largest |x|
  // [columns, columns], sum of (x_float - x) xᵀ, where x comes through layers already quantized; empty when they are the same.
  std::vector<float> drift;

  explicit InputStatistics(std::int64_t width = 0);
  // Adds the tokens x [rows, columns]. The same sums whatever the threads of `pool`.
  Status add(const float* x, std::int64_t rows, base::ThreadPool& pool);
  // Adds to `drift` what the float model had, [rows, columns], where add() was given x.
  Status add_drift(const float* x_float, const float* x, std::int64_t rows, base::ThreadPool& pool);
  // As if every x had been x / scales. Precondition: [columns], > 0.
  void divide(std::span<const float> scales);
};

// sum [rows_of_sum, columns] += leftᵀ right, with left [tokens, rows_of_sum] and right [tokens, columns]: for `residual` below.
Status add_products(const float* left, std::int64_t rows_of_sum, const float* right, std::int64_t columns, std::int64_t tokens, float* sum,
                    base::ThreadPool& pool);

struct MatrixResult {
  encodings::GroupedMatrix matrix;
  // Of a large matrix, these two are estimates from evenly spaced rows.
  double error = 0;              // trace((W - Ŵ) H (W - Ŵ)ᵀ) / trace(W H Wᵀ); without statistics H is the identity
  double rounding_error = 0;     // of plain rounding with the same options, search off
  bool fell_back = false;        // the method was worse than plain rounding, which stands instead
  std::string note;              // what a report should say of this matrix, or empty
};

struct MatrixProblem;
struct CodedMatrix;

struct MatrixMethod {
  std::string_view name;         // "gptq"
  std::string_view summary;
  bool needs_statistics;
  Status (*run)(const MatrixProblem& problem, CodedMatrix& coded, std::string& note);
};

std::span<const MatrixMethod> matrix_methods();  // the table: rounding gptq …
// Errors: invalid_argument with the names nearest to `name`.
Result<const MatrixMethod*> find_matrix_method(std::string_view name);

// `weight` is [rows, columns]. `statistics` may be null for a method that does not need them; where it is given, errors are
// measured with it. Errors: invalid_argument for options out of range, a NaN or infinity in the weight or the statistics,
// or sizes that do not agree.
//
// With statistics->drift, or a `residual`, what is rounded is not W but the matrix that makes up for the errors of the layers
// before it (after GPTAQ, Li et al. 2025, arXiv:2504.02692): W + c (W D + R) H⁻¹, with D the drift, c options.compensation and
// R = `residual` [rows, columns], sum of (r_float - r) xᵀ, where the layer's output is added to a residual stream r that has
// errors of its own; empty: none. Errors are then measured from that matrix. A method that needs no statistics ignores both.
Result<MatrixResult> quantize_matrix(const MatrixMethod& method, std::span<const float> weight, std::int64_t rows,
                                     std::int64_t columns, const InputStatistics* statistics, const MatrixOptions& options,
                                     base::ThreadPool& pool, std::span<const float> residual = {});

}  // namespace narrow::quantizers
