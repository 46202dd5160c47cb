#include "kernels/group_dequantize/group_dequantize.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace narrow::kernels {
namespace {

std::vector<std::uint8_t> pack(const std::vector<int>& codes, int bits) {
  std::vector<std::uint8_t> bytes((codes.size() * static_cast<std::size_t>(bits) + 7) / 8);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    for (int b = 0; b < bits; ++b) {
      const std::size_t at = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(b);
      bytes[at / 8] = static_cast<std::uint8_t>(bytes[at / 8] | ((codes[i] >> b & 1) << at % 8));
    }
  }
  return bytes;
}

// Every length, so that every tail is met; the last byte is the buffer's last, so that reading on is caught by ASan.
TEST(GroupDequantize, EqualsItsDefinitionOnEveryInstructionSet) {
  std::mt19937 random(1);
  for (const int bits : {2, 4, 8}) {
    for (std::size_t n = 0; n <= 70; ++n) {
      std::vector<int> codes(n);
      for (int& code : codes) code = static_cast<int>(random() % (1u << bits));
      const std::vector<std::uint8_t> packed = pack(codes, bits);
      const float scale = 0.037f, zero_point = n % 2 == 0 ? 7 : 2.625f;
      for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512}) {
        if (isa > base::detected_isa()) continue;
        std::vector<float> out(n, -1);
        group_dequantize_kernels(isa).of(bits)(packed.data(), n, scale, zero_point, out.data());
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], (static_cast<float>(codes[i]) - zero_point) * scale) << bits << " bits, " << i << " of " << n;
      }
    }
  }
}

TEST(GroupDequantize, KnowsItsWidths) {
  for (int bits = 0; bits <= 9; ++bits) EXPECT_EQ(group_dequantize_kernels().of(bits) != nullptr, bits == 2 || bits == 4 || bits == 8) << bits;
}

}  // namespace
}  // namespace narrow::kernels
