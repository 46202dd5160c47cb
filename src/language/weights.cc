#include "language/weights.h"

#include "base/float16.h"

namespace narrow::language {
namespace {

inline float widen(float x) { return x; }
inline float widen(double x) { return static_cast<float>(x); }
inline float widen(base::Float16 x) { return base::to_float(x); }
inline float widen(base::BFloat16 x) { return base::to_float(x); }

template <typename T>
void widen_all(const Tensor& from, std::int64_t begin, std::int64_t count, float* out) {
  const T* at = from.data<T>().data() + begin;
  for (std::int64_t i = 0; i < count; ++i) out[i] = widen(at[i]);
}

}  // namespace

std::uint64_t StoredWeight::bytes() const {
  if (grouped) return grouped->codes.size() + grouped->scales.size() * (grouped->scale_type == encodings::ScaleType::kF32 ? 4 : 2) + grouped->zeros.size();
  if (codebook) return codebook->codes.size() + (codebook->nested.empty() ? 4 * codebook->absmax.size() : codebook->absmax.size() + 4 * codebook->nested[0].absmax.size());
  return plain.bytes();
}

MatrixForm form_of(const StoredWeight& weight) {
  MatrixForm form;
  form.rows = weight.rows();
  form.columns = weight.columns();
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
  const std::int64_t columns = weight.columns();
  switch (weight.plain.dtype()) {
    case DType::kF16: return widen_all<base::Float16>(weight.plain, first * columns, count * columns, out);
    case DType::kBF16: return widen_all<base::BFloat16>(weight.plain, first * columns, count * columns, out);
    case DType::kF64: return widen_all<double>(weight.plain, first * columns, count * columns, out);
    default: return widen_all<float>(weight.plain, first * columns, count * columns, out);
  }
}

}  // namespace narrow::language
