// ARMv8.2 with dotprod: SDOT multiplies s8 by s8, so the left matrix enters less 128 and 128 times the column's sum is
// added back. With i8mm USMMLA multiplies two rows of u8 by two columns of s8 at once.
#include <arm_neon.h>

#include <cstring>

#include "kernels/gemm_s8/gemm_s8.h"

namespace narrow::kernels {
namespace {

constexpr std::int64_t kQuads = kPanelColumns / 4;  // vectors of four columns in a panel

inline std::uint32_t load_quad(const std::uint8_t* p, std::int64_t count) {
  std::uint32_t quad = 0;
  std::memcpy(&quad, p, static_cast<std::size_t>(count < 4 ? count : 4));
  return quad;
}

// Four finished sums of row `row`, columns [column, column + 4).
inline void store(int32x4_t sum, const GemmEpilogue& e, std::int64_t row, std::int64_t column, std::int64_t left, void* c, std::int64_t index) {
  if (e.row != nullptr) sum = vmlaq_s32(sum, vld1q_s32(e.column + column), vdupq_n_s32(e.row[row]));
  const int32x4_t acc = vaddq_s32(sum, vld1q_s32(e.offset + column));
  char staged[16];
  std::size_t width = 4;
  if (e.output == GemmOutput::kS32) {
    std::memcpy(staged, &acc, 16);
  } else {
    const float32x4_t v = vfmaq_f32(vld1q_f32(e.bias + column), vcvtq_f32_s32(acc), vld1q_f32(e.scale + column));
    if (e.output == GemmOutput::kF32) {
      std::memcpy(staged, &v, 16);
    } else {
      // maxnm gives the number where the other is NaN.
      const float32x4_t low = vdupq_n_f32(static_cast<float>(e.low - e.zero_point)), high = vdupq_n_f32(static_cast<float>(e.high - e.zero_point));
      const int32x4_t codes = vaddq_s32(vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(v, low), high)), vdupq_n_s32(e.zero_point));
      const int16x4_t narrow = vmovn_s32(codes);
      const int8x8_t bytes = vmovn_s16(vcombine_s16(narrow, narrow));
      std::memcpy(staged, &bytes, 4);
      width = 1;
    }
  }
  const std::size_t count = static_cast<std::size_t>(left < 4 ? left : 4);
  std::memcpy(static_cast<char*>(c) + static_cast<std::size_t>(index) * width, staged, count * width);
}

// What one tile of a panel reads and writes.
struct Panel {
  const LeftS8& a;
  const PackedS8& b;
  const std::int8_t* w;      // of the panel, in its strip
  std::int64_t step;         // bytes from one group of four k to the next
  std::int64_t column;
  const GemmEpilogue& epilogue;
};

template <int kM>
void tile_dot(const Panel& p, std::int64_t first_row, void* c, std::int64_t ldc) {
  int32x4_t acc[kM][kQuads];
  for (int j = 0; j < kQuads; ++j) {
    const int32x4_t added = vshlq_n_s32(vld1q_s32(p.b.column_sums.data() + p.column + j * 4), 7);
    for (int i = 0; i < kM; ++i) acc[i][j] = added;
  }
  const std::uint32_t mask = p.a.flip ? 0 : 0x80808080u;  // s8 elements count 128 more, and 128 less here
  const std::int64_t length = p.b.run_length();
  const std::int8_t* w = p.w;
  for (std::int64_t run = 0; run < p.b.runs; ++run) {
    const std::uint8_t* from[kM];
    for (int i = 0; i < kM; ++i) from[i] = p.a.row(first_row + i) + (p.a.offsets == nullptr ? 0 : p.a.offsets[run]);
    for (std::int64_t k = 0; k < length; k += 4, w += p.step) {
      const int8x16_t columns[kQuads] = {vld1q_s8(w), vld1q_s8(w + 16), vld1q_s8(w + 32), vld1q_s8(w + 48)};
      for (int i = 0; i < kM; ++i) {
        const int8x16_t row = vreinterpretq_s8_u32(vdupq_n_u32(load_quad(from[i] + k, length - k) ^ mask));
        for (int j = 0; j < kQuads; ++j) acc[i][j] = vdotq_s32(acc[i][j], columns[j], row);
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kQuads; ++j) {
      const std::int64_t column = p.column + j * 4, left = p.b.n - column;
      if (left > 0) store(acc[i][j], p.epilogue, first_row + i, column, left, c, i * ldc + column);
    }
  }
}

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")

// 2 * kPairs rows. Two groups of four k are brought together, so that a vector holds eight k of two columns.
template <int kPairs>
void tile_mm(const Panel& p, std::int64_t first_row, void* c, std::int64_t ldc) {
  constexpr int kCouples = kPanelColumns / 2;
  int32x4_t acc[kPairs][kCouples];  // each: row 0 columns 0 and 1, row 1 columns 0 and 1
  for (auto& pair : acc) {
    for (int32x4_t& sums : pair) sums = vdupq_n_s32(0);
  }
  const std::uint64_t mask = p.a.flip ? 0x8080808080808080u : 0;
  const std::int64_t length = p.b.run_length();
  const std::int8_t* w = p.w;
  for (std::int64_t run = 0; run < p.b.runs; ++run) {
    const std::uint8_t* from[2 * kPairs];
    for (int i = 0; i < 2 * kPairs; ++i) from[i] = p.a.row(first_row + i) + (p.a.offsets == nullptr ? 0 : p.a.offsets[run]);
    for (std::int64_t k = 0; k < length; k += 8) {
      const bool both = k + 4 < length;
      int8x16_t couples[kCouples];
      for (int j = 0; j < kQuads; ++j) {
        const int32x4_t near = vreinterpretq_s32_s8(vld1q_s8(w + j * 16));
        const int32x4_t far = both ? vreinterpretq_s32_s8(vld1q_s8(w + p.step + j * 16)) : vdupq_n_s32(0);
        couples[2 * j] = vreinterpretq_s8_s32(vzip1q_s32(near, far));
        couples[2 * j + 1] = vreinterpretq_s8_s32(vzip2q_s32(near, far));
      }
      for (int i = 0; i < kPairs; ++i) {
        std::uint64_t rows[2];
        for (int r = 0; r < 2; ++r) {
          const std::uint8_t* at = from[2 * i + r] + k;
          rows[r] = load_quad(at, length - k);
          if (both) rows[r] |= static_cast<std::uint64_t>(load_quad(at + 4, length - k - 4)) << 32;
          rows[r] ^= mask;
        }
        const uint8x16_t two = vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(rows[0]), vcreate_u64(rows[1])));
        for (int j = 0; j < kCouples; ++j) acc[i][j] = vusmmlaq_s32(acc[i][j], two, couples[j]);
      }
      w += both ? 2 * p.step : p.step;
    }
  }
  for (int i = 0; i < kPairs; ++i) {
    for (int j = 0; j < kQuads; ++j) {
      const std::int64_t column = p.column + j * 4, left = p.b.n - column;
      if (left <= 0) break;
      const int32x4_t near = acc[i][2 * j], far = acc[i][2 * j + 1];
      const int32x4_t upper = vcombine_s32(vget_low_s32(near), vget_low_s32(far)), lower = vcombine_s32(vget_high_s32(near), vget_high_s32(far));
      store(upper, p.epilogue, first_row + 2 * i, column, left, c, 2 * i * ldc + column);
      store(lower, p.epilogue, first_row + 2 * i + 1, column, left, c, (2 * i + 1) * ldc + column);
    }
  }
}

#pragma GCC pop_options

// `rows` runs tiles over the rows of one panel: rows(panel, c).
template <class Rows>
void each_panel(const LeftS8& a, const PackedS8& b, std::int64_t first, std::int64_t last, const GemmEpilogue& epilogue, const Rows& rows) {
  for (std::int64_t s = first; s < last; ++s) {
    const std::int64_t begin = b.first_panel(s), step = (b.first_panel(s + 1) - begin) * kPanelColumns * 4;
    for (std::int64_t p = begin; p < b.first_panel(s + 1); ++p) {
      rows(Panel{a, b, b.strip(s) + (p - begin) * kPanelColumns * 4, step, p * kPanelColumns, epilogue});
    }
  }
}

char* row_of(void* c, std::int64_t i, std::int64_t ldc, const GemmEpilogue& e) {
  const std::int64_t width = e.output == GemmOutput::kS32 || e.output == GemmOutput::kF32 ? 4 : 1;
  return static_cast<char*>(c) + i * ldc * width;
}

void rows_dot(const Panel& panel, std::int64_t i, std::int64_t m, void* c, std::int64_t ldc) {
  for (; i + 4 <= m; i += 4) tile_dot<4>(panel, i, row_of(c, i, ldc, panel.epilogue), ldc);
  for (; i < m; ++i) tile_dot<1>(panel, i, row_of(c, i, ldc, panel.epilogue), ldc);
}

}  // namespace

void gemm_s8_neon_dot(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last, const GemmEpilogue& epilogue,
                      void* c, std::int64_t ldc) {
  each_panel(a, b, first, last, epilogue, [&](const Panel& panel) { rows_dot(panel, 0, m, c, ldc); });
}

void gemm_s8_neon_i8mm(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last, const GemmEpilogue& epilogue,
                       void* c, std::int64_t ldc) {
  each_panel(a, b, first, last, epilogue, [&](const Panel& panel) {
    std::int64_t i = 0;
    for (; i + 4 <= m; i += 4) tile_mm<2>(panel, i, row_of(c, i, ldc, epilogue), ldc);
    if (i + 2 <= m) {
      tile_mm<1>(panel, i, row_of(c, i, ldc, epilogue), ldc);
      i += 2;
    }
    rows_dot(panel, i, m, c, ldc);
  });
}

}  // namespace narrow::kernels
