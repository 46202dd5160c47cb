// One Linear: what the recipe says of it, carried out.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/thread_pool.h"
#include "language/quantize/plan.h"
#include "language/weights.h"
#include "quantizers/matrix/matrix.h"
#include "quantizers/matrix/smooth_quant.h"

namespace narrow::language {

struct LinearOutcome {
  std::string name, method;      // method: "" when it stays as it is stored
  int bits = 0;
  std::int64_t group_size = 0, rows = 0, columns = 0;
  double error = 0, rounding_error = 0;  // relative squared error at its outputs; of plain rounding
  bool fell_back = false;
  std::string note;              // why it stays float, why it fell back
  std::uint64_t bytes_before = 0, bytes_after = 0;
};

struct QuantizedLinear {
  StoredWeight weight;           // as stored when the recipe keeps it
  LinearOutcome outcome;
};

// How this Linear's inputs are rounded as it runs, and some of them, by which the error is measured.
struct RoundedInputs {
  encodings::InputRounding rounding;
  quantizers::InputSample sample{nullptr, 0, 0};
};

// `statistics` may be null. Errors: invalid_argument (a NaN in the weight, naming it).
// `residual` is quantize_matrix's. `inputs` may be null where the plan rounds none or has no use for data.
Result<QuantizedLinear> quantize_linear(const std::string& name, const StoredWeight& stored, const quantizers::Recipe& recipe, const quantizers::InputStatistics* statistics,
                                        base::ThreadPool& pool, std::span<const float> residual = {}, const RoundedInputs* inputs = nullptr);

// What quantize_matrix is to do for such a plan.
quantizers::MatrixOptions matrix_options(const LinearPlan& plan, const quantizers::Recipe& recipe, std::int64_t columns);

// What quantize_linear would make of such a weight.
Result<MatrixForm> planned_form(const std::string& name, const MatrixForm& stored, const quantizers::Recipe& recipe);

}  // namespace narrow::language
