// The weights of ai.narrow's Linear and Embedding: [rows, columns] numbers in one of several encodings, made f32 row by row.
//
// Attributes of the node: rows, columns, encoding, and
//   encoding "float":       data f32, f64, f16 or bf16 [rows, columns];
//   encoding "grouped":     data u8 [rows, ceil(columns · bits / 8)] as packed_codes.h, scales f32 and optionally zeros u8
//                           [rows, groups]; bits, group_size;
//   encoding "nf4", "fp4":  data u8 [ceil(rows · columns / 2)], the first code in the high half, scales f32 one a block of
//                           `block` weights in a row.
#pragma once

#include <cstddef>

#include "operators/row_product.h"

namespace narrow::operators {

struct WeightInputs {
  std::size_t data = 1, scales = 2, zeros = 3;
};

// Borrows the context's tensors. Errors: corrupt (attributes), invalid_argument (tensors that do not fit them).
Result<StoredRows> open_weights(const graph::Node& node, RunContext& context, const WeightInputs& inputs);

}  // namespace narrow::operators
