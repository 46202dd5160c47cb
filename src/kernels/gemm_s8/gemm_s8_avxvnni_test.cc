// gemm_s8_avxvnni encoded as AVX-512 VNNI on 256 bits, so that it runs on processors that have that and not AVX-VNNI.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "kernels/gemm_s8/gemm_s8.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")
#define gemm_s8_avxvnni gemm_s8_evex
#include "kernels/gemm_s8/gemm_s8_avxvnni.cc"
#undef gemm_s8_avxvnni
#pragma GCC pop_options

namespace narrow::kernels {
namespace {

TEST(GemmS8AvxVnni, GivesTheBitsOfTheReference) {
  if (base::detected_isa() != base::Isa::kAvx512Vnni) GTEST_SKIP() << "skipped: this processor has no AVX-512 VNNI";
  std::mt19937 random(4);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t runs = 1 + random() % 3, length = 1 + random() % 21, m = 1 + random() % 15, n = 1 + random() % 150, k = runs * length;
    std::vector<std::int8_t> w(k * n);
    std::vector<std::uint8_t> a(m * k + 3);
    for (auto& v : w) v = static_cast<std::int8_t>(random() % 4 == 0 ? -128 : random());
    for (auto& v : a) v = static_cast<std::uint8_t>(random() % 4 == 0 ? 255 : random());
    const PackedS8 b = pack_s8(w.data(), false, k, n, n, 1, runs);
    std::vector<std::int32_t> offset(b.padded_n()), column(b.padded_n()), row(m);
    std::vector<float> scale(b.padded_n()), bias(b.padded_n());
    for (std::int64_t j = 0; j < n; ++j) {
      offset[j] = static_cast<std::int32_t>(random() % 20000) - 10000;
      column[j] = static_cast<std::int32_t>(random() % 100) - 50;
      scale[j] = static_cast<float>(random() % 1000) / 1e6f;
      bias[j] = static_cast<float>(random() % 100) / 7;
    }
    for (auto& v : row) v = static_cast<std::int32_t>(random() % 300) - 150;
    std::vector<std::int64_t> offsets;
    for (std::int64_t r = 0; r < runs; ++r) offsets.push_back(r * length);
    for (const GemmOutput output : {GemmOutput::kS32, GemmOutput::kF32, GemmOutput::kU8, GemmOutput::kS8}) {
      GemmEpilogue e{output, offset.data(), scale.data(), bias.data(), 11, output == GemmOutput::kS8 ? -100 : 11, output == GemmOutput::kS8 ? 120 : 255};
      if (round % 2 == 0) {
        e.row = row.data();
        e.column = column.data();
      }
      const LeftS8 left = {a.data(), k, nullptr, offsets.data(), round % 3 == 0, false};
      std::vector<std::int32_t> want(m * n, 9), got(m * n, 9);
      gemm_s8_reference(left, m, b, 0, b.strips(), e, want.data(), n);
      gemm_s8_evex(left, m, b, 0, b.strips(), e, got.data(), n);
      ASSERT_EQ(got, want) << m << "x" << n << "x" << k << " in " << runs << " runs";
    }
  }
}

}  // namespace
}  // namespace narrow::kernels
#endif
