// Products with weights that are not stored as f32: some rows at a time are made f32, as many as stay in a cache.
#pragma once

#include <cstdint>
#include <functional>

#include "encodings/input_rounding.h"
#include "operators/operator.h"

namespace narrow::operators {

// Makes rows [first, first + count) of the weights, [count, columns] f32. Called from several threads at once.
using MakeRows = std::function<void(std::int64_t first, std::int64_t count, float* out)>;

struct StoredRows {
  std::int64_t rows = 0, columns = 0;
  MakeRows make;
  const float* direct = nullptr;  // the rows, where they are f32 already: `make` is not used
};

// Output 0 = x · W^T (+ bias[rows]), or x · W when not transposed, x rounded first where that is asked for. Errors:
// invalid_argument, when x's last dimension is not what the weights have there; resource_exhausted.
Status multiply_rows(const graph::Node& node, RunContext& context, const StoredRows& weights, bool transposed, const float* bias,
                     const encodings::InputRounding& rounding = {});

}  // namespace narrow::operators
