// Q4_K, Q5_K and Q6_K: 256 values, the scales of whose parts are themselves few bits of a half-precision scale. Scales are
// searched for each part, rounded, searched again around what they were rounded to, and the two half-precision
// scales fitted to that; whatever lowered the error is kept.
#include <algorithm>

#include "encodings/ggml/fields.h"
#include "encodings/ggml/fit.h"
#include "encodings/ggml/quantize.h"

namespace narrow::encodings::ggml {
namespace {

constexpr int kBlock = 256;

float sum(const Lanes& v) {
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += v[lane];
  return total;
}
float largest(const Lanes& v) {
  float most = v[0];
  for (int lane = 1; lane < kLanes; ++lane) most = std::max(most, v[lane]);
  return most;
}
Lanes rounded(const Lanes& v, float least, float most) {
  Lanes out;
  for (int lane = 0; lane < kLanes; ++lane) out[lane] = std::clamp(std::nearbyint(v[lane]), least, most);
  return out;
}
float quotient(float a, float b) { return b > 0 ? a / b : 0; }

// Eight parts of 32 with 6-bit scales and minimums: value = d * scale * code - dmin * minimum.
struct Parts8 {
  float d = 0, dmin = 0;
  Lanes scale = {}, minimum = {};  // whole numbers, 0 .. 63
  Lanes error = {};
  Lanes codes[32];
};

void evaluate(const Groups& groups, int most, Parts8& p) { p.error = nearest_codes(groups, p.d * p.scale, -p.dmin * p.minimum, 0, most, p.codes); }

// The neighbours of each part's scale and minimum, the better kept.
void search_around(const Groups& groups, int most, Parts8& p) {
  const Lanes scale = p.scale, minimum = p.minimum;
  Lanes codes[32];
  for (int ds = -1; ds <= 1; ++ds) {
    for (int dm = -1; dm <= 1; ++dm) {
      if (ds == 0 && dm == 0) continue;
      const Lanes s = rounded(scale + static_cast<float>(ds), 0, 63), m = rounded(minimum + static_cast<float>(dm), 0, 63);
      const Lanes error = nearest_codes(groups, p.d * s, -p.dmin * m, 0, most, codes);
      const auto better = error < p.error;
      p.scale = better ? s : p.scale;
      p.minimum = better ? m : p.minimum;
      p.error = better ? error : p.error;
    }
  }
}

// The d and dmin that fit the codes best.
void refit(const Groups& groups, Parts8& p) {
  Lanes aa = {}, ab = {}, bb = {}, xa = {}, xb = {};
  for (int j = 0; j < groups.length; ++j) {
    const Lanes a = p.scale * p.codes[j], b = p.minimum, wa = groups.weights[j] * a, wb = groups.weights[j] * b;
    aa += wa * a;
    ab += wa * b;
    bb += wb * b;
    xa += wa * groups.values[j];
    xb += wb * groups.values[j];
  }
  const double A = sum(aa), B = sum(ab), C = sum(bb), P = sum(xa), R = sum(xb), determinant = A * C - B * B;
  if (A <= 0) return;
  const bool both = determinant > 1e-9 * A * C;
  const auto d = static_cast<float>(both ? (P * C - R * B) / determinant : (P + static_cast<double>(p.dmin) * B) / A);
  const auto dmin = both ? static_cast<float>((B * P - A * R) / determinant) : p.dmin;
  if (d > 0) p.d = as_half(d);
  if (dmin >= 0) p.dmin = as_half(dmin);
}

Parts8 fit_parts(const Groups& groups, int most) {
  const Affine fit = fit_affine(groups, most, true);
  Parts8 best;
  best.d = as_half(largest(fit.scale) / 63);
  best.dmin = as_half(largest(-fit.offset) / 63);
  for (int lane = 0; lane < kLanes; ++lane) {
    best.scale[lane] = std::clamp(std::nearbyint(quotient(fit.scale[lane], best.d)), 0.0f, 63.0f);
    best.minimum[lane] = std::clamp(std::nearbyint(quotient(-fit.offset[lane], best.dmin)), 0.0f, 63.0f);
  }
  evaluate(groups, most, best);
  search_around(groups, most, best);
  evaluate(groups, most, best);
  for (int again = 0; again < 2; ++again) {
    Parts8 next = best;
    refit(groups, next);
    if (next.d == best.d && next.dmin == best.dmin) break;
    evaluate(groups, most, next);
    if (again == 0) {
      search_around(groups, most, next);
      evaluate(groups, most, next);
    }
    if (!(sum(next.error) < sum(best.error))) break;
    best = next;
  }
  return best;
}

template <int kBits>
void quantize_parts8(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  constexpr int kBytes = kBits == 5 ? 176 : 144;
  for (std::int64_t i = 0; i < count; i += kBlock, out += kBytes) {
    Groups groups;
    const float* weights = importance == nullptr ? nullptr : importance + i;
    groups.load(values + i, weights, weight_factor(weights, kBlock), 32);
    const Parts8 parts = fit_parts(groups, (1 << kBits) - 1);
    std::memset(out, 0, kBytes);
    store_half(out, parts.d);
    store_half(out + 2, parts.dmin);
    std::uint8_t *high = out + 16, *low = out + (kBits == 5 ? 48 : 16);
    for (int s = 0; s < 8; ++s) {
      store_scale_min(out + 4, s, {static_cast<int>(parts.scale[s]), static_cast<int>(parts.minimum[s])});
      for (int j = 0; j < 32; ++j) {
        const int code = static_cast<int>(parts.codes[j][s]);
        std::uint8_t& byte = low[s / 2 * 32 + j];
        byte = static_cast<std::uint8_t>(byte | (code & 15) << (s % 2 * 4));
        if (kBits == 5) high[j] = static_cast<std::uint8_t>(high[j] | code >> 4 << s);
      }
    }
  }
}

// Sixteen parts of 16 with signed 8-bit scales, as two times eight: value = d * scale * code.
struct Parts16 {
  float d = 0;
  Lanes scale[2] = {};
  Lanes codes[2][16];
  float error = 0;
};

void evaluate(const Groups (&groups)[2], Parts16& p) {
  p.error = 0;
  for (int half = 0; half < 2; ++half) p.error += sum(nearest_codes(groups[half], p.d * p.scale[half], Lanes{}, -32, 31, p.codes[half]));
}

void search_around(const Groups (&groups)[2], Parts16& p) {
  Lanes codes[16];
  for (int half = 0; half < 2; ++half) {
    const Lanes scale = p.scale[half];
    Lanes least = nearest_codes(groups[half], p.d * scale, Lanes{}, -32, 31, codes);
    for (const float step : {-1.0f, 1.0f}) {
      const Lanes s = rounded(scale + step, -128, 127);
      const Lanes error = nearest_codes(groups[half], p.d * s, Lanes{}, -32, 31, codes);
      const auto better = error < least;
      p.scale[half] = better ? s : p.scale[half];
      least = better ? error : least;
    }
  }
}

Parts16 fit_parts(const Groups (&groups)[2]) {
  const Lanes fits[2] = {fit_symmetric(groups[0], -32, 31), fit_symmetric(groups[1], -32, 31)};
  float extreme = 0;
  for (const Lanes& fit : fits) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (std::fabs(fit[lane]) > std::fabs(extreme)) extreme = fit[lane];
    }
  }
  Parts16 best;
  best.d = as_half(extreme / -128);
  const float inverse = best.d != 0 ? 1.0f / best.d : 0.0f;
  for (int half = 0; half < 2; ++half) best.scale[half] = rounded(fits[half] * inverse, -128, 127);
  search_around(groups, best);
  evaluate(groups, best);
  Parts16 next = best;
  Lanes square = {}, product = {};
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < 16; ++j) {
      const Lanes a = best.scale[half] * best.codes[half][j], weighted = groups[half].weights[j] * a;
      square += weighted * a;
      product += weighted * groups[half].values[j];
    }
  }
  if (sum(square) <= 0) return best;
  next.d = as_half(sum(product) / sum(square));
  if (next.d == best.d) return best;
  search_around(groups, next);
  evaluate(groups, next);
  return next.error < best.error ? next : best;
}

}  // namespace

void quantize_q4_k(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) { quantize_parts8<4>(values, importance, count, out); }
void quantize_q5_k(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) { quantize_parts8<5>(values, importance, count, out); }

void quantize_q6_k(const float* values, const float* importance, std::int64_t count, std::uint8_t* out) {
  for (std::int64_t i = 0; i < count; i += kBlock, out += 210) {
    Groups groups[2];
    const float* weights = importance == nullptr ? nullptr : importance + i;
    const float factor = weight_factor(weights, kBlock);
    for (int half = 0; half < 2; ++half) groups[half].load(values + i + 128 * half, weights == nullptr ? nullptr : weights + 128 * half, factor, 16);
    const Parts16 parts = fit_parts(groups);
    std::memset(out, 0, 210);
    store_half(out + 208, parts.d);
    for (int half = 0; half < 2; ++half) {
      for (int part = 0; part < 8; ++part) {
        out[192 + 8 * half + part] = static_cast<std::uint8_t>(static_cast<std::int8_t>(parts.scale[half][part]));
        for (int j = 0; j < 16; ++j) {
          const int at = part % 2 * 16 + j, quarter = part / 2, code = static_cast<int>(parts.codes[half][j][part]) + 32;
          std::uint8_t &low = out[64 * half + 32 * (quarter % 2) + at], &high = out[128 + 32 * half + at];
          low = static_cast<std::uint8_t>(low | (code & 15) << (quarter / 2 * 4));
          high = static_cast<std::uint8_t>(high | code >> 4 << (2 * quarter));
        }
      }
    }
  }
}

}  // namespace narrow::encodings::ggml
