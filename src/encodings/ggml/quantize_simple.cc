// Types of one or two half-precision scales to 32 values.
#include <algorithm>

#include "encodings/ggml/fields.h"
#include "encodings/ggml/fit.h"
#include "encodings/ggml/quantize.h"

namespace narrow::encodings::ggml {
namespace {

constexpr int kBlock = 32;

float inverse_or_zero(float v) {
  const float inverse = 1.0f / v;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

struct Range {
  float least, most;
};
Range range_of(const float* x) {
  float lows[8], highs[8];
  for (int lane = 0; lane < 8; ++lane) lows[lane] = highs[lane] = x[lane];
  for (int j = 8; j < kBlock; j += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      lows[lane] = x[j + lane] < lows[lane] ? x[j + lane] : lows[lane];
      highs[lane] = x[j + lane] > highs[lane] ? x[j + lane] : highs[lane];
    }
  }
  return {*std::min_element(lows, lows + 8), *std::max_element(highs, highs + 8)};
}

// The value of largest magnitude, the first of several; a block of zeros gives +0.
float extreme_of(const float* x) {
  const auto [least, most] = range_of(x);
  if (-least != most) return -least > most ? least : most;
  return most == 0 ? 0.0f : *std::find_if(x, x + kBlock, [most = most](float v) { return std::fabs(v) == most; });
}

// Half away from zero; |v| < 2^23. The addend is just below 1/2, so that what is just below 1/2 stays 0.
int rounded(float v) { return static_cast<int>(v + std::copysign(0x1.fffffep-2f, v)); }

// Codes of 4 or 5 bits into `bytes` (16 of them), the fifth bits into `high`.
template <int kBits>
std::uint32_t store_nibbles(const int* codes, std::uint8_t* bytes) {
  for (int j = 0; j < 16; ++j) bytes[j] = static_cast<std::uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
  std::uint32_t high = 0;
  if (kBits == 5) {
    for (int j = 0; j < kBlock; ++j) high |= static_cast<std::uint32_t>(codes[j] >> 4) << j;
  }
  return high;
}

// Writes a block of either kind: a scale, a minimum if there is one, fifth bits if there are any, nibbles.
template <int kBits, bool kMinimum>
void store_block(float scale, float minimum, const int* codes, std::uint8_t* out) {
  std::uint8_t* fields = out + (kMinimum ? 4 : 2);
  store_half(out, scale);
  if (kMinimum) store_half(out + 2, minimum);
  const std::uint32_t high = store_nibbles<kBits>(codes, fields + (kBits == 5 ? 4 : 0));
  if (kBits == 5) store(fields, high);
}

template <int kBits, bool kMinimum>
constexpr int kBytes = 2 + (kMinimum ? 2 : 0) + (kBits == 5 ? 4 : 0) + 16;

// As ggml's reference: the extreme value is the lowest code.
template <int kBits>
void symmetric_block(const float* x, std::uint8_t* out) {
  constexpr int kHalf = 1 << (kBits - 1);
  const float d = extreme_of(x) / -kHalf, id = inverse_or_zero(d);
  int codes[kBlock];
  for (int j = 0; j < kBlock; ++j) codes[j] = std::min(2 * kHalf - 1, static_cast<int>(x[j] * id + (kHalf + 0.5f)));
  store_block<kBits, false>(d, 0, codes, out);
}

// As ggml's reference: from the smallest value to the largest.
template <int kBits>
void affine_block(const float* x, std::uint8_t* out) {
  constexpr int kMost = (1 << kBits) - 1;
  const auto [least, most] = range_of(x);
  if (!std::isfinite(most - least)) {  // far beyond what a half-precision scale reaches
    float smaller[kBlock];
    for (int j = 0; j < kBlock; ++j) smaller[j] = x[j] / 4;
    return affine_block<kBits>(smaller, out);
  }
  const float d = (most - least) / kMost, id = inverse_or_zero(d);
  int codes[kBlock];
  for (int j = 0; j < kBlock; ++j) codes[j] = std::min(kMost, static_cast<int>((x[j] - least) * id + 0.5f));
  store_block<kBits, true>(d, least, codes, out);
}

void bytes_block(const float* x, std::uint8_t* out) {
  const float d = std::fabs(extreme_of(x)) / 127, id = inverse_or_zero(d);
  store_half(out, d);
  for (int j = 0; j < kBlock; ++j) out[2 + j] = static_cast<std::uint8_t>(rounded(x[j] * id));
}

// Eight blocks at once by search: body(groups) for whole eights, and for what is left padded with zeros.
template <typename Store>
void searched(const float* values, const float* importance, std::int64_t count, int bytes, std::uint8_t* out, Store store_groups) {
  constexpr int kStep = kLanes * kBlock;
  std::uint8_t rest[kLanes * 40];
  for (std::int64_t i = 0; i < count; i += kStep, out += kLanes * bytes) {
    Groups groups;
    if (count - i >= kStep) {
      groups.load(values + i, importance + i, weight_factor(importance + i, kStep), kBlock);
      store_groups(groups, out);
      continue;
    }
    float padded[kStep] = {}, weights[kStep] = {};
    std::copy(values + i, values + count, padded);
    std::copy(importance + i, importance + count, weights);
    groups.load(padded, weights, weight_factor(weights, kStep), kBlock);
    store_groups(groups, rest);
    std::memcpy(out, rest, static_cast<std::size_t>((count - i) / kBlock * bytes));
  }
}

// Half-precision values `steps` away from the nearest to v, in each lane.
Lanes halves(const Lanes& v, int steps = 0) {
  Lanes rounded;
  for (int lane = 0; lane < kLanes; ++lane) {
    base::Float16 half = finite_half(v[lane]);
    const int magnitude = (half.bits & 0x7FFF) + steps;
    if (magnitude >= 0 && magnitude < 0x7C00) half.bits = static_cast<std::uint16_t>((half.bits & 0x8000) | magnitude);
    rounded[lane] = base::to_float(half);
  }
  return rounded;
}

// The best of what was tried, lane by lane.
struct Choice {
  Lanes scale = {}, offset = {}, error = {};
  bool empty = true;

  void consider(const Groups& groups, const Lanes& s, const Lanes& b, int least, int most) {
    Lanes codes[kBlock];
    const Lanes e = nearest_codes(groups, s, b, least, most, codes);
    const auto better = e < error;
    scale = empty ? s : better ? s : scale;
    offset = empty ? b : better ? b : offset;
    error = empty ? e : better ? e : error;
    empty = false;
  }
};

// The scale that search_symmetric's types store, the one without search among those considered.
Lanes symmetric_scale(const Groups& groups, int least, int most) {
  Choice choice;
  Lanes plain;
  for (int lane = 0; lane < kLanes; ++lane) {
    float extreme = 0;
    for (int j = 0; j < kBlock; ++j) extreme = std::fabs(groups.values[j][lane]) > std::fabs(extreme) ? groups.values[j][lane] : extreme;
    plain[lane] = extreme / static_cast<float>(least);
  }
  choice.consider(groups, halves(plain), Lanes{}, least, most);
  const Lanes fitted = fit_symmetric(groups, least, most);
  for (const int steps : {0, -1, 1}) choice.consider(groups, halves(fitted, steps), Lanes{}, least, most);
  return choice.scale;
}

Affine affine_scale(const Groups& groups, int most) {
  Choice choice;
  Affine plain;
  for (int lane = 0; lane < kLanes; ++lane) {
    float low = groups.values[0][lane], high = low;
    for (int j = 1; j < kBlock; ++j) {
      low = std::min<float>(low, groups.values[j][lane]);
      high = std::max<float>(high, groups.values[j][lane]);
    }
    plain.scale[lane] = (high - low) / static_cast<float>(most);
    plain.offset[lane] = low;
  }
  choice.consider(groups, halves(plain.scale), halves(plain.offset), 0, most);
  const Affine fitted = fit_affine(groups, most, false);
  for (const int steps : {0, -1, 1}) {
    // What rounding did to the offset the scale makes good, as far as it can.
    const Lanes offset = halves(fitted.offset, steps);
    Lanes codes[kBlock], square = {}, product = {};
    nearest_codes(groups, fitted.scale, offset, 0, most, codes);
    for (int j = 0; j < kBlock; ++j) {
      const Lanes weighted = groups.weights[j] * codes[j];
      square += weighted * codes[j];
      product += weighted * (groups.values[j] - offset);
    }
    const Lanes scale = (square > 0.0f) & (product > 0.0f) ? product / square : fitted.scale;
    for (const int more : {0, -1, 1}) choice.consider(groups, halves(scale, more), offset, 0, most);
  }
  return {choice.scale, choice.offset};
}

template <int kBits>
void search_symmetric(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  constexpr int kHalf = 1 << (kBits - 1);
  searched(values, importance, count, kBytes<kBits, false>, out, [](const Groups& groups, std::uint8_t* to) {
    const Lanes scale = symmetric_scale(groups, -kHalf, kHalf - 1);
    Lanes codes[kBlock];
    nearest_codes(groups, scale, Lanes{}, -kHalf, kHalf - 1, codes);
    for (int lane = 0; lane < kLanes; ++lane) {
      int block[kBlock];
      for (int j = 0; j < kBlock; ++j) block[j] = static_cast<int>(codes[j][lane]) + kHalf;
      store_block<kBits, false>(scale[lane], 0, block, to + lane * kBytes<kBits, false>);
    }
  });
}

template <int kBits>
void search_affine(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  constexpr int kMost = (1 << kBits) - 1;
  searched(values, importance, count, kBytes<kBits, true>, out, [](const Groups& groups, std::uint8_t* to) {
    const Affine fit = affine_scale(groups, kMost);
    Lanes codes[kBlock];
    nearest_codes(groups, fit.scale, fit.offset, 0, kMost, codes);
    for (int lane = 0; lane < kLanes; ++lane) {
      int block[kBlock];
      for (int j = 0; j < kBlock; ++j) block[j] = static_cast<int>(codes[j][lane]);
      store_block<kBits, true>(fit.scale[lane], fit.offset[lane], block, to + lane * kBytes<kBits, true>);
    }
  });
}

void search_bytes(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  searched(values, importance, count, 34, out, [](const Groups& groups, std::uint8_t* to) {
    const Lanes scale = symmetric_scale(groups, -127, 127);
    Lanes codes[kBlock];
    nearest_codes(groups, scale, Lanes{}, -127, 127, codes);
    for (int lane = 0; lane < kLanes; ++lane) {
      store_half(to + lane * 34, scale[lane]);
      for (int j = 0; j < kBlock; ++j) to[lane * 34 + 2 + j] = static_cast<std::uint8_t>(static_cast<std::int8_t>(codes[j][lane]));
    }
  });
}

template <int kBytesEach, typename Block>
void each_block(const float* values, std::int64_t count, std::uint8_t* out, Block block) {
  for (std::int64_t i = 0; i < count; i += kBlock, out += kBytesEach) block(values + i, out);
}

}  // namespace

void quantize_f32(const float* values, const float*, std::int64_t count, std::uint8_t* out) {
  if (count != 0) std::memcpy(out, values, static_cast<std::size_t>(count) * 4);
}
void quantize_f16(const float* values, const float*, std::int64_t count, std::uint8_t* out) {
  for (std::int64_t i = 0; i < count; ++i) store(out + 2 * i, base::to_float16(values[i]));
}
void quantize_bf16(const float* values, const float*, std::int64_t count, std::uint8_t* out) {
  for (std::int64_t i = 0; i < count; ++i) store(out + 2 * i, base::to_bfloat16(values[i]));
}

void quantize_q4_0(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  if (importance != nullptr) return search_symmetric<4>(values, importance, count, out);
  each_block<18>(values, count, out, symmetric_block<4>);
}
void quantize_q5_0(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  if (importance != nullptr) return search_symmetric<5>(values, importance, count, out);
  each_block<22>(values, count, out, symmetric_block<5>);
}
void quantize_q4_1(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  if (importance != nullptr) return search_affine<4>(values, importance, count, out);
  each_block<20>(values, count, out, affine_block<4>);
}
void quantize_q5_1(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  if (importance != nullptr) return search_affine<5>(values, importance, count, out);
  each_block<24>(values, count, out, affine_block<5>);
}
void quantize_q8_0(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  if (importance != nullptr) return search_bytes(values, importance, count, out);
  each_block<34>(values, count, out, bytes_block);
}

}  // namespace narrow::encodings::ggml
