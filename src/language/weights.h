// Where a language model's weights come from: modules by their Hugging Face names, whatever their encoding.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "encodings/grouped_matrix.h"
#include "encodings/input_rounding.h"
#include "narrow/result.h"
#include "tensor/tensor.h"

namespace narrow::language {

// The weight of a Linear or an embedding, [rows, columns] = [out, in] (a table: [ids, numbers]), in exactly one of these forms.
struct StoredWeight {
  Tensor plain;                                                // f32, f16, bf16 or f64
  std::shared_ptr<const encodings::GroupedMatrix> grouped;
  std::shared_ptr<const encodings::CodebookMatrix> codebook;
  std::vector<std::int32_t> order;                             // column j of `grouped` is input order[j]; empty: input j
  encodings::InputRounding inputs;                             // what happens to the inputs before they meet it

  std::int64_t rows() const { return grouped ? grouped->rows : codebook ? codebook->rows : plain.shape()[0]; }
  std::int64_t columns() const { return grouped ? grouped->columns : codebook ? codebook->columns : plain.shape()[1]; }
  bool quantized() const { return grouped != nullptr || codebook != nullptr; }
  std::uint64_t bytes() const;
};

// Rows [first, first + count) as f32, columns in the order of the inputs.
void to_float_rows(const StoredWeight& weight, std::int64_t first, std::int64_t count, float* out);

// What matrix() would give, without making it.
struct MatrixForm {
  enum class Kind : std::uint8_t { kPlain, kGrouped, kCodebook };

  Kind kind = Kind::kPlain;
  std::int64_t rows = 0, columns = 0;
  DType dtype = DType::kUndefined;                             // plain
  int bits = 0;                                                // grouped
  std::int64_t group_size = 0;
  encodings::ScaleType scale_type = encodings::ScaleType::kF16;
  bool symmetric = false, ordered = false;
  encodings::CodebookMatrix::Type type = encodings::CodebookMatrix::Type::kNf4;  // codebook
  std::int64_t block = 0;
  bool nested = false;
  encodings::InputRounding inputs;                             // before the work is done, a scale of 0

  bool quantized() const { return kind != Kind::kPlain; }
};
MatrixForm form_of(const StoredWeight& weight);

// A matrix of whole-byte elements with rows and columns exchanged. Errors: resource_exhausted.
Result<Tensor> transposed(const Tensor& tensor);

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // A tensor by its full name ("model.norm.weight").
  virtual bool has(const std::string& name) const = 0;
  virtual Result<Tensor> tensor(const std::string& name) const = 0;
  // The weight of a module ("model.layers.0.mlp.up_proj"), always of rank 2. Errors: not_found; corrupt, naming the tensor.
  virtual bool has_matrix(const std::string& module) const = 0;
  virtual Result<StoredWeight> matrix(const std::string& module) const = 0;
  virtual Result<MatrixForm> form(const std::string& module) const {
    NARROW_TRY(const StoredWeight weight, matrix(module));
    return form_of(weight);
  }
  // Lets go of the memory of what a prefix ("model.layers.0.") brought in; it may be asked for again.
  virtual void release(const std::string& prefix) const = 0;
};

}  // namespace narrow::language
