#include "kernels/gemm_s8/gemm_s8.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/cpu.h"

namespace narrow::kernels {

PackedS8 pack_s8(const void* b, bool is_unsigned, std::int64_t k, std::int64_t n, std::int64_t row_stride,
                 std::int64_t column_stride, std::int64_t runs) {
  PackedS8 packed;
  packed.k = k;
  packed.n = n;
  packed.runs = runs;
  const std::size_t bytes = std::max<std::size_t>(packed.bytes(), 64);
  void* memory = std::aligned_alloc(64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  packed.data = std::shared_ptr<std::int8_t>(static_cast<std::int8_t*>(memory), std::free);
  packed.column_sums.assign(static_cast<std::size_t>(packed.padded_n()), 0);
  const auto* source = static_cast<const std::uint8_t*>(b);
  const std::uint8_t flip = is_unsigned ? 0x80 : 0;
  const std::int64_t length = packed.run_length(), run_k4 = packed.run_k4();
  for (std::int64_t s = 0; s < packed.strips(); ++s) {
    const std::int64_t begin = packed.first_panel(s) * kPanelColumns, step = packed.first_panel(s + 1) * kPanelColumns - begin;
    auto* strip = static_cast<std::uint8_t*>(memory) + begin * packed.k4() * 4;
    const std::int64_t end = std::min(n, begin + step);
    for (std::int64_t run = 0; run < runs; ++run) {
      for (std::int64_t i = 0; i < length; i += 4) {
        // Four rows of the strip: columns are walked, so that rows stored side by side are read so.
        const std::int64_t rows = std::min<std::int64_t>(4, length - i);
        const std::uint8_t* from = source + (run * length + i) * row_stride + begin * column_stride;
        std::uint8_t* to = strip + (run * run_k4 + i / 4) * step * 4;
        for (std::int64_t column = begin; column < end; ++column, from += column_stride, to += 4) {
          std::int32_t sum = 0;
          for (std::int64_t r = 0; r < rows; ++r) {
            to[r] = from[r * row_stride] ^ flip;
            sum += static_cast<std::int8_t>(to[r]);
          }
          packed.column_sums[column] = static_cast<std::int32_t>(static_cast<std::uint32_t>(packed.column_sums[column]) + static_cast<std::uint32_t>(sum));
        }
      }
    }
  }
  return packed;
}

std::span<const NamedGemmS8> gemm_s8_kernels() {
  static const std::vector<NamedGemmS8> kernels = [] {
    std::vector<NamedGemmS8> found = {{"gemm_s8 scalar", gemm_s8_reference}};
#if defined(__x86_64__)
    const base::Isa isa = base::effective_isa();
    if (isa >= base::Isa::kAvx2) found.push_back({"gemm_s8 avx2", gemm_s8_avx2});
    if (base::extensions().avx_vnni) found.push_back({"gemm_s8 avxvnni", gemm_s8_avxvnni});
    if (isa >= base::Isa::kAvx512Vnni) found.push_back({"gemm_s8 avx512vnni", gemm_s8_avx512vnni});
#elif defined(__aarch64__)
    if (base::extensions().neon_dot) found.push_back({"gemm_s8 neon dot", gemm_s8_neon_dot});
    if (base::extensions().neon_i8mm) found.push_back({"gemm_s8 neon i8mm", gemm_s8_neon_i8mm});
#endif
    return found;
  }();
  return kernels;
}

}  // namespace narrow::kernels
