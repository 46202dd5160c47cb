// 8-bit integer matrix products with exact s32 accumulation (wrapping), and what follows the sum: offset, scale, bias,
// rounding, saturation. Every implementation gives the same bits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace narrow::kernels {

inline constexpr std::int64_t kPanelColumns = 16;
inline constexpr std::int64_t kMaxStripPanels = 4;

// b[k, n] of s8, re-laid once. Panels of 16 columns stand in strips of up to four (of even width), a strip in
// [k4][panels][16][4]. The k rows are `runs` runs of equal length, each padded with zeros to whole groups of four.
struct PackedS8 {
  std::int64_t k = 0, n = 0, runs = 1;
  std::shared_ptr<std::int8_t> data;      // 64-byte aligned
  std::vector<std::int32_t> column_sums;  // sum over k, padded with zeros to whole panels

  std::int64_t run_length() const { return k / runs; }
  std::int64_t run_k4() const { return (run_length() + 3) / 4; }
  std::int64_t k4() const { return runs * run_k4(); }
  std::int64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  std::int64_t padded_n() const { return panels() * kPanelColumns; }
  std::int64_t strips() const { return (panels() + kMaxStripPanels - 1) / kMaxStripPanels; }
  std::int64_t first_panel(std::int64_t strip) const { return strips() == 0 ? 0 : panels() * strip / strips(); }
  const std::int8_t* strip(std::int64_t s) const { return data.get() + first_panel(s) * k4() * kPanelColumns * 4; }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(panels() * k4()) * kPanelColumns * 4; }
};

// Element (k, n) is b[k * row_stride + n * column_stride], u8 ones less 128 (add 128 to their zero point).
PackedS8 pack_s8(const void* b, bool is_unsigned, std::int64_t k, std::int64_t n, std::int64_t row_stride,
                 std::int64_t column_stride, std::int64_t runs = 1);

// The left matrix, u8. Row i begins at rows[i], or without `rows` at base + i * lda; its run r lies offsets[r] bytes
// further on (without `offsets`: at the beginning of the row). With `flip` the elements are s8 and enter the sum as
// a + 128, which the caller takes back through the epilogue's offset.
struct LeftS8 {
  const std::uint8_t* base = nullptr;
  std::int64_t lda = 0;
  const std::uint8_t* const* rows = nullptr;
  const std::int64_t* offsets = nullptr;
  bool flip = false;
  bool slack = false;  // the three bytes behind each run may be read, whatever they are

  const std::uint8_t* row(std::int64_t i) const { return rows != nullptr ? rows[i] : base + i * lda; }
};

enum class GemmOutput : std::uint8_t { kS32, kF32, kU8, kS8 };

// acc = sum + offset[n] + row[m] * column[n], the product only where `row` is given;  v = fma(f32(acc), scale[n], bias[n]).  kS32 stores acc, kF32 stores v, the codes store
// clamp(round_half_even(v) + zero_point, low, high). All arrays are padded to whole panels.
struct GemmEpilogue {
  GemmOutput output = GemmOutput::kS32;
  const std::int32_t* offset = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;
  std::int32_t zero_point = 0, low = 0, high = 255;
  const std::int32_t* row = nullptr;
  const std::int32_t* column = nullptr;
};

// c[m, n] of the strips [first, last): rows of `c` are `ldc` elements apart; column 0 of `c` is column 0 of b.
using GemmS8 = void (*)(const LeftS8& a, std::int64_t m, const PackedS8& b, std::int64_t first, std::int64_t last,
                        const GemmEpilogue& epilogue, void* c, std::int64_t ldc);

struct NamedGemmS8 {
  const char* name;
  GemmS8 run;
};

// Those that this processor runs, within NARROW_ISA; the last one is the fastest.
std::span<const NamedGemmS8> gemm_s8_kernels();
inline GemmS8 gemm_s8() { return gemm_s8_kernels().back().run; }
inline const char* gemm_s8_name() { return gemm_s8_kernels().back().name; }

void gemm_s8_reference(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);
void gemm_s8_avx2(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);
void gemm_s8_avxvnni(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);
void gemm_s8_avx512vnni(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);
void gemm_s8_neon_dot(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);
void gemm_s8_neon_i8mm(const LeftS8&, std::int64_t, const PackedS8&, std::int64_t, std::int64_t, const GemmEpilogue&, void*, std::int64_t);

// The same epilogue over a row of sums made elsewhere (depthwise convolution): n sums, offsets and so on from column 0;
// `row` is not looked at.
void apply_epilogue(const std::int32_t* sums, std::int64_t n, const GemmEpilogue& epilogue, void* c);

}  // namespace narrow::kernels
