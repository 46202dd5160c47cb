// f32 matrix products with a right side that is packed once, and what follows the sum: bias, another matrix, activation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace narrow::kernels {

inline constexpr std::int64_t kPanelColumnsF32 = 16;
inline constexpr std::int64_t kMaxStripPanelsF32 = 4;

// b[k, n], re-laid once. Panels of 16 columns stand in strips of up to four (of even width), a strip in [k][panels][16].
// The k rows are `runs` runs of equal length.
struct PackedF32 {
  std::int64_t k = 0, n = 0, runs = 1;
  std::shared_ptr<float> data;  // 64-byte aligned; columns beyond n are 0

  std::int64_t panels() const { return (n + kPanelColumnsF32 - 1) / kPanelColumnsF32; }
  std::int64_t padded_n() const { return panels() * kPanelColumnsF32; }
  std::int64_t strips() const { return (panels() + kMaxStripPanelsF32 - 1) / kMaxStripPanelsF32; }
  std::int64_t first_panel(std::int64_t strip) const { return strips() == 0 ? 0 : panels() * strip / strips(); }
  const float* strip(std::int64_t s) const { return data.get() + first_panel(s) * k * kPanelColumnsF32; }
};

// Element (k, n) is b[k * row_stride + n * column_stride]. Throws std::bad_alloc.
PackedF32 pack_f32(const float* b, std::int64_t k, std::int64_t n, std::int64_t row_stride, std::int64_t column_stride, std::int64_t runs = 1);

// The left matrix. Row i begins at rows[i], or without `rows` at base + i * lda; its run r lies offsets[r] elements
// further on (without `offsets`: at the beginning of the row).
struct LeftF32 {
  const float* base = nullptr;
  std::int64_t lda = 0;
  const float* const* rows = nullptr;
  const std::int64_t* offsets = nullptr;

  const float* row(std::int64_t i) const { return rows != nullptr ? rows[i] : base + i * lda; }
};

// v = sum + bias[n] + residual[m, n]; then v < 0 ? slope * v : v (kLeaky) or min(max(v, low), high) (kClip).
struct ProductEpilogue {
  enum class Activation { kNone, kLeaky, kClip };
  const float* bias = nullptr;      // null or padded to whole panels
  const float* residual = nullptr;  // null or laid out as c
  Activation activation = Activation::kNone;
  float low = 0, high = 0;  // kLeaky: low is the slope
};

// c[m, n] of the strips [first, last): rows of `c` are `ldc` elements apart; column 0 of `c` is column 0 of b. The order of
// summation does not depend on m.
using ProductF32 = void (*)(const LeftF32& a, std::int64_t m, const PackedF32& b, std::int64_t first, std::int64_t last,
                            const ProductEpilogue& epilogue, float* c, std::int64_t ldc);

ProductF32 product_f32(base::Isa isa);
ProductF32 product_f32();            // for effective_isa()
const char* product_f32_name();      // of that one

void product_f32_reference(const LeftF32&, std::int64_t, const PackedF32&, std::int64_t, std::int64_t, const ProductEpilogue&, float*, std::int64_t);
void product_f32_avx2(const LeftF32&, std::int64_t, const PackedF32&, std::int64_t, std::int64_t, const ProductEpilogue&, float*, std::int64_t);
void product_f32_avx512(const LeftF32&, std::int64_t, const PackedF32&, std::int64_t, std::int64_t, const ProductEpilogue&, float*, std::int64_t);

// The whole product on a pool, cut by rows or by strips. `finish`, where given, is called for pieces [row, rows) x [column,
// columns) that are done, while they are in the cache.
using FinishPiece = std::function<void(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns)>;
void multiply_f32(const float* a, std::int64_t m, const PackedF32& b, const ProductEpilogue& epilogue, float* c, base::ThreadPool& pool,
                  const FinishPiece* finish = nullptr);

}  // namespace narrow::kernels
