#include "encodings/ggml/dequantize.h"

#include <bit>

#include "encodings/ggml/fields.h"

namespace narrow::encodings::ggml {
namespace {

constexpr std::int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr std::int8_t kE2M1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// body(block, out) over blocks of `elements` values and `bytes` bytes.
template <int kElements, int kBytes, typename Body>
void each_block(const std::uint8_t* blocks, std::int64_t count, float* out, Body body) {
  for (std::int64_t i = 0; i < count; i += kElements, blocks += kBytes) body(blocks, out + i);
}

// 32 codes of 4 bits: byte j holds codes j and j + 16. value(nibble) for each.
template <int kHalf, typename Value>
void nibbles(const std::uint8_t* bytes, float* out, Value value) {
  for (int j = 0; j < kHalf; ++j) out[j] = value(bytes[j] & 15);
  for (int j = 0; j < kHalf; ++j) out[j + kHalf] = value(bytes[j] >> 4);
}

// As nibbles(), with a fifth bit from `high`.
template <typename Value>
void five_bits(std::uint32_t high, const std::uint8_t* bytes, float* out, Value value) {
  for (int j = 0; j < 16; ++j) out[j] = value((bytes[j] & 15) | (high >> j & 1) << 4);
  for (int j = 0; j < 16; ++j) out[j + 16] = value(bytes[j] >> 4 | (high >> (j + 16) & 1) << 4);
}

}  // namespace

void dequantize_f32(const std::uint8_t* blocks, std::int64_t count, float* out) {
  if (count != 0) std::memcpy(out, blocks, static_cast<std::size_t>(count) * 4);
}
void dequantize_f64(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(load<double>(blocks + 8 * i));
}
void dequantize_f16(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = load_half(blocks + 2 * i);
}
void dequantize_bf16(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = base::to_float(load<base::BFloat16>(blocks + 2 * i));
}

void dequantize_q4_0(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 18>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    nibbles<16>(b + 2, y, [=](int q) { return static_cast<float>(q - 8) * d; });
  });
}

void dequantize_q4_1(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 20>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b), m = load_half(b + 2);
    nibbles<16>(b + 4, y, [=](int q) { return static_cast<float>(q) * d + m; });
  });
}

void dequantize_q5_0(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 22>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    five_bits(load<std::uint32_t>(b + 2), b + 6, y, [=](int q) { return static_cast<float>(q - 16) * d; });
  });
}

void dequantize_q5_1(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 24>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b), m = load_half(b + 2);
    five_bits(load<std::uint32_t>(b + 4), b + 8, y, [=](int q) { return static_cast<float>(q) * d + m; });
  });
}

void dequantize_q8_0(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 34>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[2 + j])) * d;
  });
}

void dequantize_q8_1(const std::uint8_t* blocks, std::int64_t count, float* out) {  // d, the sum of the codes times d, codes
  each_block<32, 36>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[4 + j])) * d;
  });
}

void dequantize_q8_k(const std::uint8_t* blocks, std::int64_t count, float* out) {  // d as f32, codes, their sums
  each_block<256, 292>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load<float>(b);
    for (int j = 0; j < 256; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[4 + j])) * d;
  });
}

void dequantize_q2_k(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 84>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const std::uint8_t* codes = b + 16;
    const float d = load_half(b + 80), dmin = load_half(b + 82);
    for (int s = 0; s < 16; ++s) {  // sub-blocks of 16, eight to a half of 32 code bytes
      const float scale = d * static_cast<float>(b[s] & 15), min = dmin * static_cast<float>(b[s] >> 4);
      const std::uint8_t* from = codes + s / 8 * 32 + s % 2 * 16;
      const int shift = s % 8 / 2 * 2;
      for (int j = 0; j < 16; ++j) y[16 * s + j] = scale * static_cast<float>(from[j] >> shift & 3) - min;
    }
  });
}

void dequantize_q3_k(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 110>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const std::uint8_t *high = b, *codes = b + 32, *scales = b + 96;
    const float d = load_half(b + 108);
    for (int s = 0; s < 16; ++s) {
      const int low4 = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, high2 = scales[8 + s % 4] >> (s / 4 * 2) & 3;
      const float scale = d * static_cast<float>((low4 | high2 << 4) - 32);
      const std::uint8_t* from = codes + s / 8 * 32 + s % 2 * 16;
      const std::uint8_t* from_high = high + s % 2 * 16;
      const int shift = s % 8 / 2 * 2, high_shift = s / 2;
      for (int j = 0; j < 16; ++j) y[16 * s + j] = scale * static_cast<float>((from[j] >> shift & 3) - ((from_high[j] >> high_shift & 1) != 0 ? 0 : 4));
    }
  });
}

void dequantize_q4_k(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 144>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b), dmin = load_half(b + 2);
    for (int pair = 0; pair < 4; ++pair) {
      const ScaleMin low = load_scale_min(b + 4, 2 * pair), high = load_scale_min(b + 4, 2 * pair + 1);
      const float d1 = d * static_cast<float>(low.scale), m1 = dmin * static_cast<float>(low.min);
      const float d2 = d * static_cast<float>(high.scale), m2 = dmin * static_cast<float>(high.min);
      const std::uint8_t* from = b + 16 + 32 * pair;
      float* to = y + 64 * pair;
      for (int j = 0; j < 32; ++j) to[j] = d1 * static_cast<float>(from[j] & 15) - m1;
      for (int j = 0; j < 32; ++j) to[j + 32] = d2 * static_cast<float>(from[j] >> 4) - m2;
    }
  });
}

void dequantize_q5_k(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 176>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b), dmin = load_half(b + 2);
    const std::uint8_t* high = b + 16;
    for (int s = 0; s < 8; ++s) {
      const ScaleMin v = load_scale_min(b + 4, s);
      const float scale = d * static_cast<float>(v.scale), min = dmin * static_cast<float>(v.min);
      const std::uint8_t* from = b + 48 + s / 2 * 32;
      const int shift = s % 2 * 4;
      for (int j = 0; j < 32; ++j) y[32 * s + j] = scale * static_cast<float>((from[j] >> shift & 15) | (high[j] >> s & 1) << 4) - min;
    }
  });
}

void dequantize_q6_k(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 210>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b + 208);
    for (int quarter = 0; quarter < 8; ++quarter) {  // 32 values: low bits from 32 bytes shared by two, high bits by four
      const int half = quarter / 4, q = quarter % 4;
      const std::uint8_t *low = b + 64 * half + 32 * (q % 2), *high = b + 128 + 32 * half;
      const int low_shift = q / 2 * 4, high_shift = 2 * q;
      for (int part = 0; part < 2; ++part) {
        const float scale = d * static_cast<float>(static_cast<std::int8_t>(b[192 + 2 * quarter + part]));
        float* to = y + 32 * quarter + 16 * part;
        for (int j = 0; j < 16; ++j) {
          const int at = 16 * part + j;
          to[j] = scale * static_cast<float>(((low[at] >> low_shift & 15) | (high[at] >> high_shift & 3) << 4) - 32);
        }
      }
    }
  });
}

void dequantize_iq4_nl(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 18>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    nibbles<16>(b + 2, y, [=](int q) { return d * static_cast<float>(kIq4Values[q]); });
  });
}

void dequantize_iq4_xs(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 136>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b);
    const std::uint32_t high = load<std::uint16_t>(b + 2);
    for (int s = 0; s < 8; ++s) {
      const int scale = (b[4 + s / 2] >> (s % 2 * 4) & 15) | static_cast<int>(high >> (2 * s) & 3) << 4;
      const float ds = d * static_cast<float>(scale - 32);
      nibbles<16>(b + 8 + 16 * s, y + 32 * s, [=](int q) { return ds * static_cast<float>(kIq4Values[q]); });
    }
  });
}

void dequantize_mxfp4(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<32, 17>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    // Half of 2^(e - 127), since the table holds doubled values.
    const float d = std::bit_cast<float>(b[0] < 2 ? 0x00200000u << b[0] : static_cast<std::uint32_t>(b[0] - 1) << 23);
    nibbles<16>(b + 1, y, [=](int q) { return d * static_cast<float>(kE2M1Doubled[q]); });
  });
}

void dequantize_nvfp4(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<64, 36>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    for (int s = 0; s < 4; ++s) {
      const int exponent = b[s] >> 3 & 15, mantissa = b[s] & 7;
      const float scale = b[s] == 0x7F ? 0.0f : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9) : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
      nibbles<8>(b + 4 + 8 * s, y + 16 * s, [=](int q) { return scale * 0.5f * static_cast<float>(kE2M1Doubled[q]); });
    }
  });
}

void dequantize_tq2_0(const std::uint8_t* blocks, std::int64_t count, float* out) {
  each_block<256, 66>(blocks, count, out, [](const std::uint8_t* b, float* y) {
    const float d = load_half(b + 64);
    for (int i = 0; i < 256; ++i) y[i] = d * static_cast<float>((b[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
  });
}

void dequantize_tq1_0(const std::uint8_t* blocks, std::int64_t count, float* out) {
  // Five ternary digits in a byte (four in the last bytes), the first the most significant of a fraction of 243 scaled to 256.
  constexpr std::uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  each_block<256, 54>(blocks, count, out, [&](const std::uint8_t* b, float* y) {
    const float d = load_half(b + 52);
    const auto digits = [&](const std::uint8_t* bytes, int width, int digits_each) {
      for (int n = 0; n < digits_each; ++n) {
        for (int j = 0; j < width; ++j) *y++ = d * static_cast<float>((static_cast<std::uint8_t>(bytes[j] * kPowers[n]) * 3 >> 8) - 1);
      }
    };
    digits(b, 32, 5);
    digits(b + 32, 16, 5);
    digits(b + 48, 4, 4);
  });
}

}  // namespace narrow::encodings::ggml
