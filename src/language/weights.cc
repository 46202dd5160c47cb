#include "language/weights.h"

#include <algorithm>

#include "base/float16.h"
#include "kernels/half/half.h"

namespace narrow::language {
std::uint64_t StoredWeight::bytes() const {
  if (grouped) return grouped->codes.size() + grouped->scales.size() * (grouped->scale_type == encodings::ScaleType::kF32 ? 4 : 2) + grouped->zeros.size();
  if (codebook) return codebook->codes.size() + (codebook->nested.empty() ? 4 * codebook->absmax.size() : codebook->absmax.size() + 4 * codebook->nested[0].absmax.size());
  return plain.bytes();
}

MatrixForm form_of(const StoredWeight& weight) {
  MatrixForm form;
  form.rows = weight.rows();
  form.columns = weight.columns();
  form.inputs = weight.inputs;
  if (const auto& m = weight.grouped) {
    form.kind = MatrixForm::Kind::kGrouped;
    form.bits = m->bits;
    form.group_size = m->group_size;
    form.scale_type = m->scale_type;
    form.symmetric = m->symmetric();
    form.ordered = !weight.order.empty();
  } else if (const auto& b = weight.codebook) {
    form.kind = MatrixForm::Kind::kCodebook;
    form.type = b->type;
    form.block = b->block;
    form.nested = !b->nested.empty();
  } else {
    form.dtype = weight.plain.dtype();
  }
  return form;
}

void to_float_rows(const StoredWeight& weight, std::int64_t first, std::int64_t count, float* out) {
  if (weight.grouped) {
    if (weight.order.empty()) return encodings::dequantize_rows(*weight.grouped, first, count, out);
    std::vector<float> row(static_cast<std::size_t>(weight.columns()));
    for (std::int64_t r = first; r < first + count; ++r, out += weight.columns()) {
      encodings::dequantize_rows(*weight.grouped, r, 1, row.data());
      for (std::size_t j = 0; j < row.size(); ++j) out[weight.order[j]] = row[j];
    }
    return;
  }
  if (weight.codebook) return encodings::dequantize_rows(*weight.codebook, first, count, out);
  const std::int64_t begin = first * weight.columns();
  const auto size = static_cast<std::size_t>(count * weight.columns());
  switch (weight.plain.dtype()) {
    case DType::kF16: return kernels::half_kernels().widen_f16(weight.plain.data<base::Float16>().data() + begin, size, out);
    case DType::kBF16: return kernels::half_kernels().widen_bf16(weight.plain.data<base::BFloat16>().data() + begin, size, out);
    case DType::kF64: std::copy_n(weight.plain.data<double>().data() + begin, size, out); return;
    default: std::copy_n(weight.plain.data<float>().data() + begin, size, out); return;
  }
}

Result<Tensor> transposed(const Tensor& tensor) {
  NARROW_TRY(Tensor out, Tensor::create(tensor.dtype(), {tensor.shape()[1], tensor.shape()[0]}));
  const std::int64_t rows = tensor.shape()[0], columns = tensor.shape()[1];
  const auto size = static_cast<std::int64_t>(bits_of(tensor.dtype()) / 8);
  const auto* from = static_cast<const std::uint8_t*>(tensor.raw());
  auto* to = static_cast<std::uint8_t*>(out.mutable_raw());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) std::copy_n(from + (r * columns + c) * size, size, to + (c * rows + r) * size);
  }
  return out;
}

}  // namespace narrow::language
