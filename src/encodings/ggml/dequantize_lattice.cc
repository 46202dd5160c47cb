// Types whose codes are places in a table of lattice points: each point gives the magnitudes of 8 or 4 neighbours (IQ1: signed
// values), beside it lie their signs.
#include <bit>

#include "encodings/ggml/dequantize.h"
#include "encodings/ggml/fields.h"
#include "encodings/ggml/lattices.h"

namespace narrow::encodings::ggml {
namespace {

constexpr float kLevels2[4] = {8, 25, 43, 0};
constexpr float kLevels3Xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr float kLevels3S[8] = {1, 3, 5, 7, 9, 11, 13, 15};

// 8 values from the places of their points: one of eight coordinates, or two of four.
void place2(std::uint16_t point, unsigned signs, float scale, float* y) {
  for (int j = 0; j < 8; ++j) y[j] = scale * kLevels2[point >> (2 * j) & 3] * (signs >> j & 1 ? -1.0f : 1.0f);
}
void place3(std::uint16_t first, std::uint16_t second, const float (&levels)[8], unsigned signs, float scale, float* y) {
  for (int j = 0; j < 8; ++j) {
    const int point = j < 4 ? first : second;
    y[j] = scale * levels[point >> (3 * (j % 4)) & 7] * (signs >> j & 1 ? -1.0f : 1.0f);
  }
}
// Seven signs are written; the eighth makes the number of minuses even.
unsigned eight_signs(unsigned seven) { return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7; }

void place1(std::uint16_t point, float scale, float shift, float* y) {
  for (int j = 0; j < 8; ++j) y[j] = scale * (static_cast<float>((point >> (2 * j) & 3) - 1) + shift);
}
constexpr float kShift = 0.125f;  // of all values of a group of IQ1, up or down

}  // namespace

void dequantize_iq2_xxs(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 66, out += 256) {
    const float d = load_half(blocks);
    for (int s = 0; s < 8; ++s) {  // four places, then 28 bits of signs and 4 of the scale
      const std::uint8_t* places = blocks + 2 + 8 * s;
      const std::uint32_t rest = load<std::uint32_t>(places + 4);
      const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
      for (int g = 0; g < 4; ++g) place2(kLattice2Xxs[places[g]], eight_signs(rest >> (7 * g) & 127), scale, out + 32 * s + 8 * g);
    }
  }
}

void dequantize_iq2_xs(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 74, out += 256) {
    const float d = load_half(blocks);
    for (int g = 0; g < 32; ++g) {  // 9 bits of place, 7 of signs
      const unsigned code = load<std::uint16_t>(blocks + 2 + 2 * g);
      const float scale = d * (0.5f + static_cast<float>(blocks[66 + g / 4] >> (g / 2 % 2 * 4) & 15)) * 0.25f;
      place2(kLattice2Xs[code & 511], eight_signs(code >> 9), scale, out + 8 * g);
    }
  }
}

void dequantize_iq2_s(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 82, out += 256) {
    const float d = load_half(blocks);
    const std::uint8_t *places = blocks + 2, *signs = blocks + 34, *high = blocks + 66, *scales = blocks + 74;
    for (int g = 0; g < 32; ++g) {
      const unsigned place = places[g] | (high[g / 4] >> (g % 4 * 2) & 3u) << 8;
      const float scale = d * (0.5f + static_cast<float>(scales[g / 4] >> (g / 2 % 2 * 4) & 15)) * 0.25f;
      place2(kLattice2S[place], signs[g], scale, out + 8 * g);
    }
  }
}

void dequantize_iq3_xxs(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 98, out += 256) {
    const float d = load_half(blocks);
    const std::uint8_t* places = blocks + 2;
    for (int s = 0; s < 8; ++s) {
      const std::uint32_t rest = load<std::uint32_t>(blocks + 66 + 4 * s);
      const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
      for (int g = 4 * s; g < 4 * s + 4; ++g) {
        place3(kLattice3Xxs[places[2 * g]], kLattice3Xxs[places[2 * g + 1]], kLevels3Xxs, eight_signs(rest >> (7 * (g % 4)) & 127), scale, out + 8 * g);
      }
    }
  }
}

void dequantize_iq3_s(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 110, out += 256) {
    const float d = load_half(blocks);
    const std::uint8_t *places = blocks + 2, *high = blocks + 66, *signs = blocks + 74, *scales = blocks + 106;
    const auto point = [&](int at) { return kLattice3S[places[at] | (high[at / 8] >> (at % 8) & 1u) << 8]; };
    for (int g = 0; g < 32; ++g) {
      const float scale = d * static_cast<float>(1 + 2 * (scales[g / 8] >> (g / 4 % 2 * 4) & 15));
      place3(point(2 * g), point(2 * g + 1), kLevels3S, signs[g], scale, out + 8 * g);
    }
  }
}

void dequantize_iq1_s(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 50, out += 256) {
    const float d = load_half(blocks);
    for (int s = 0; s < 8; ++s) {  // 3 bits more for each of four places, 3 of the scale, which way all are shifted
      const unsigned high = load<std::uint16_t>(blocks + 34 + 2 * s);
      const float scale = d * static_cast<float>(2 * (high >> 12 & 7) + 1), shift = high & 0x8000 ? -kShift : kShift;
      for (int g = 0; g < 4; ++g) place1(kLattice1[blocks[2 + 4 * s + g] | (high >> (3 * g) & 7) << 8], scale, shift, out + 32 * s + 8 * g);
    }
  }
}

void dequantize_iq1_m(const std::uint8_t* blocks, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += 256, blocks += 56, out += 256) {
    const std::uint8_t *high = blocks + 32, *scales = blocks + 48;
    unsigned bits = 0;  // the block's scale: the top four bits of each of four words of scales
    for (int w = 0; w < 4; ++w) bits |= static_cast<unsigned>(load<std::uint16_t>(scales + 2 * w) >> 12) << (4 * w);
    std::uint8_t half[2] = {static_cast<std::uint8_t>(bits), static_cast<std::uint8_t>(bits >> 8)};
    const float d = load_half(half);
    for (int g = 0; g < 32; ++g) {  // of 8 values; a scale for two of them
      const unsigned word = load<std::uint16_t>(scales + 2 * (g / 8)), more = high[g / 2] >> (g % 2 * 4) & 15u;
      const float scale = d * static_cast<float>(2 * (word >> (3 * (g / 2 % 4)) & 7) + 1);
      place1(kLattice1[blocks[g] | (more & 7) << 8], scale, more & 8 ? -kShift : kShift, out + 8 * g);
    }
  }
}

}  // namespace narrow::encodings::ggml
