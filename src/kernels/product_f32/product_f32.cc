#include "kernels/product_f32/product_f32.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace narrow::kernels {

PackedF32 pack_f32(const float* b, std::int64_t k, std::int64_t n, std::int64_t row_stride, std::int64_t column_stride, std::int64_t runs) {
  PackedF32 packed;
  packed.k = k;
  packed.n = n;
  packed.runs = runs;
  const std::size_t bytes = std::max<std::size_t>(static_cast<std::size_t>(k * packed.padded_n()) * sizeof(float), 64);
  void* memory = std::aligned_alloc(64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  packed.data = std::shared_ptr<float>(static_cast<float*>(memory), std::free);
  auto* all = static_cast<float*>(memory);
  for (std::int64_t s = 0; s < packed.strips(); ++s) {
    const std::int64_t begin = packed.first_panel(s) * kPanelColumnsF32, width = packed.first_panel(s + 1) * kPanelColumnsF32 - begin;
    const std::int64_t columns = std::min(width, n - begin);
    float* strip = all + begin * k;
    if (columns < width) std::memset(strip, 0, static_cast<std::size_t>(k * width) * sizeof(float));
    if (column_stride == 1) {
      for (std::int64_t i = 0; i < k; ++i) std::memcpy(strip + i * width, b + i * row_stride + begin, static_cast<std::size_t>(columns) * sizeof(float));
      continue;
    }
    for (std::int64_t j = 0; j < columns; ++j) {
      const float* from = b + (begin + j) * column_stride;
      for (std::int64_t i = 0; i < k; ++i) strip[i * width + j] = from[i * row_stride];
    }
  }
  return packed;
}

ProductF32 product_f32(base::Isa isa) {
  switch (isa) {
    case base::Isa::kScalar: return product_f32_reference;
    case base::Isa::kAvx2: return product_f32_avx2;
    case base::Isa::kAvx512:
    case base::Isa::kAvx512Vnni: return product_f32_avx512;
  }
  return product_f32_reference;
}

ProductF32 product_f32() {
  static const ProductF32 chosen = product_f32(base::effective_isa());
  return chosen;
}

const char* product_f32_name() {
  switch (base::effective_isa()) {
    case base::Isa::kScalar: return "product_f32 reference";
    case base::Isa::kAvx2: return "product_f32 avx2";
    default: return "product_f32 avx512";
  }
}

void multiply_f32(const float* a, std::int64_t m, const PackedF32& b, const ProductEpilogue& epilogue, float* c, base::ThreadPool& pool,
                  const FinishPiece* finish) {
  constexpr std::int64_t kWorthThreads = 1 << 18;      // multiplications
  constexpr std::int64_t kBlockBytes = 256 << 10;      // of rows, so that they stay in the second-level cache
  const std::int64_t threads = m * b.n * b.k < kWorthThreads ? 1 : pool.threads();
  std::int64_t block = std::clamp<std::int64_t>(kBlockBytes / std::max<std::int64_t>(b.k * 4, 1), 24, 384);
  if (threads > 1) block = std::min(block, std::max<std::int64_t>(24, (m + threads * 2 - 1) / (threads * 2)));
  const std::int64_t blocks = (m + block - 1) / block;
  const std::int64_t cuts = blocks < threads ? std::min(threads * 2, b.strips()) : 1;
  const ProductF32 product = product_f32();
  const auto piece = [&](std::size_t task, int) {
    const std::int64_t at = static_cast<std::int64_t>(task) / cuts, cut = static_cast<std::int64_t>(task) % cuts;
    const std::int64_t row = m * at / blocks, rows = m * (at + 1) / blocks - row;
    const std::int64_t first = b.strips() * cut / cuts, last = b.strips() * (cut + 1) / cuts;
    ProductEpilogue own = epilogue;
    if (own.residual != nullptr) own.residual += row * b.n;
    product({a + row * b.k, b.k, nullptr, nullptr}, rows, b, first, last, own, c + row * b.n, b.n);
    if (finish == nullptr) return;
    const std::int64_t begin = b.first_panel(first) * kPanelColumnsF32, end = std::min(b.n, b.first_panel(last) * kPanelColumnsF32);
    (*finish)(row, rows, begin, end - begin);
  };
  if (threads == 1) {
    for (std::int64_t task = 0; task < blocks * cuts; ++task) piece(static_cast<std::size_t>(task), 0);
  } else {
    pool.parallel_for(static_cast<std::size_t>(blocks * cuts), std::ref(piece));
  }
}

}  // namespace narrow::kernels
