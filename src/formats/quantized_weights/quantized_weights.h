// How checkpoints store the weight of a Linear in few bits: one weight, several tensors. A table, one row a layout.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "encodings/grouped_matrix.h"
#include "formats/tensor_spec.h"

namespace narrow::formats {

// A tensor by what follows the layer's name and a dot: "qweight".
struct WeightTensor {
  std::string suffix;
  Tensor tensor;
};

// Looks up "<layer>.<suffix>"; nothing when the checkpoint has no such tensor.
using WeightSource = std::function<Result<std::optional<Tensor>>(std::string_view suffix)>;

// All but the numbers of a matrix, or what a checkpoint's configuration says of it.
struct WeightShape {
  std::int64_t rows = 0, columns = 0;  // 0 when reading: taken from the tensors
  int bits = 4;
  std::int64_t group_size = 128;       // -1 when reading: one group a row
  encodings::ScaleType scale_type = encodings::ScaleType::kF16;
  bool symmetric = true;
  bool ordered = false;                // columns were put into another order before they were grouped
};
WeightShape shape_of(const encodings::GroupedMatrix& matrix);

// A matrix whose groups need not run over neighbouring columns.
struct OrderedMatrix {
  encodings::GroupedMatrix matrix;
  std::vector<std::int32_t> order;  // column j of the matrix is input order[j]; empty: input j
};

struct WeightLayout {
  std::string_view name;  // "gptq"
  // Errors: unsupported, with a hint, when the layout cannot hold such a weight.
  Status (*check)(const WeightShape& shape) = nullptr;
  // The tensors that pack() gives, suffixes for names. Precondition: check() passed.
  std::vector<TensorSpec> (*specs)(const WeightShape& shape) = nullptr;
  // Errors: check()'s; unsupported (a zero point that the layout has no code for).
  Result<std::vector<WeightTensor>> (*pack)(const OrderedMatrix& weight, base::ThreadPool* pool) = nullptr;
  // Errors: not_found (a tensor that is missing), corrupt (types, shapes or values that do not fit together), unsupported.
  Result<OrderedMatrix> (*unpack)(const WeightShape& shape, const WeightSource& source, base::ThreadPool* pool) = nullptr;
};

// gptq, gptq_v2, awq, pack-quantized, int-quantized, llm-int8.
std::span<const WeightLayout> weight_layouts();
const WeightLayout* find_weight_layout(std::string_view name);  // null when there is none

// bitsandbytes' 4-bit weights, NF4 or FP4, with or without double quantization. `expressed` is the type that the weight had.
std::vector<TensorSpec> bitsandbytes_specs(std::int64_t rows, std::int64_t columns, encodings::CodebookMatrix::Type type, std::int64_t block, bool nested, DType expressed);
Result<std::vector<WeightTensor>> pack_bitsandbytes(const encodings::CodebookMatrix& matrix, DType expressed);
Result<encodings::CodebookMatrix> unpack_bitsandbytes(const WeightSource& source);

}  // namespace narrow::formats
