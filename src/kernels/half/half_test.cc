#include "kernels/half/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

namespace narrow::kernels {
namespace {

TEST(Half, WidensEveryPattern) {
  constexpr std::size_t kCount = 1 << 16;
  std::vector<base::Float16> half(kCount);
  std::vector<base::BFloat16> brain(kCount);
  for (std::size_t i = 0; i < kCount; ++i) half[i].bits = brain[i].bits = static_cast<std::uint16_t>(i);
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512}) {
    if (isa > base::detected_isa()) continue;
    for (const std::size_t skip : {0, 1, 5}) {  // every tail and alignment
      std::vector<float> a(kCount), b(kCount);
      half_kernels(isa).widen_f16(half.data() + skip, kCount - skip, a.data());
      half_kernels(isa).widen_bf16(brain.data() + skip, kCount - skip, b.data());
      for (std::size_t i = 0; i + skip < kCount; ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(a[i]), std::bit_cast<std::uint32_t>(base::to_float(half[i + skip]))) << i;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(b[i]), static_cast<std::uint32_t>(i + skip) << 16) << i;
      }
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
