#include "encodings/ggml/fit.h"

#include "base/cpu.h"

namespace narrow::encodings::ggml {
namespace {

// Beyond this a half-precision scale saturates in any case; below it squares and their sums stay finite.
constexpr float kMost = 1e8f;

#define NARROW_INLINE [[gnu::always_inline]] inline

NARROW_INLINE Lanes all(float v) { return Lanes{v, v, v, v, v, v, v, v}; }
NARROW_INLINE Lanes smaller(const Lanes& a, const Lanes& b) { return a < b ? a : b; }
NARROW_INLINE Lanes larger(const Lanes& a, const Lanes& b) { return a > b ? a : b; }
// To the nearest whole number, ties to even; |v| < 2^22.
NARROW_INLINE Lanes whole(const Lanes& v) { return (v + 0x1.8p23f) - 0x1.8p23f; }
NARROW_INLINE Lanes code_of(const Lanes& v, float least, float most) { return whole(larger(smaller(v, all(most)), all(least))); }
// 1 / v, 0 where v is so small that the quotient would not be finite.
NARROW_INLINE Lanes inverse(const Lanes& v) {
  const auto usable = (v > 1e-37f) | (v < -1e-37f);
  return usable ? 1.0f / (usable ? v : all(1.0f)) : all(0.0f);
}

struct Moments {
  Lanes weight, value, square;  // sums of w, w x, w x x
};

NARROW_INLINE Moments moments_of(const Groups& g) {
  Moments m = {all(0), all(0), all(0)};
  for (int j = 0; j < g.length; ++j) {
    const Lanes weighted = g.weights[j] * g.values[j];
    m.weight += g.weights[j];
    m.value += weighted;
    m.square += weighted * g.values[j];
  }
  return m;
}

struct Fit {
  Lanes scale, offset, error;
};

// The best scale and offset for the codes that `inverse_scale` and `start` give.
NARROW_INLINE void affine_step(const Groups& g, const Moments& m, const Lanes& inverse_scale, const Lanes& start, float most, bool falling, Fit& best) {
  Lanes code_sum = all(0), code_square = all(0), product = all(0);
  for (int j = 0; j < g.length; ++j) {
    const Lanes code = code_of(inverse_scale * (g.values[j] - start), 0, most);
    const Lanes weighted = g.weights[j] * code;
    code_sum += weighted;
    code_square += weighted * code;
    product += weighted * g.values[j];
  }
  const Lanes determinant = m.weight * code_square - code_sum * code_sum;
  const auto solvable = determinant > 1e-6f * m.weight * code_square;
  Lanes scale = (m.weight * product - m.value * code_sum) * inverse(determinant);
  scale = solvable ? scale : all(0);
  Lanes offset = (m.value - scale * code_sum) * inverse(m.weight);
  if (falling) {
    const auto rising = offset > 0.0f;
    scale = rising ? product * inverse(code_square) : scale;
    offset = rising ? all(0) : offset;
  }
  const Lanes error = m.square - scale * product - offset * m.value;
  // With the offset held at 0 that is exact as well: then square - scale * product.
  const auto better = (error < best.error) & (scale >= 0.0f);
  best.scale = better ? scale : best.scale;
  best.offset = better ? offset : best.offset;
  best.error = better ? error : best.error;
}

NARROW_INLINE void symmetric_step(const Groups& g, const Lanes& inverse_scale, float least, float most, Lanes& best_scale, Lanes& best_gain) {
  Lanes code_square = all(0), product = all(0);
  for (int j = 0; j < g.length; ++j) {
    const Lanes code = code_of(inverse_scale * g.values[j], least, most);
    const Lanes weighted = g.weights[j] * code;
    code_square += weighted * code;
    product += weighted * g.values[j];
  }
  const Lanes scale = product * inverse(code_square);
  const Lanes gain = scale * product;  // by how much the error falls from the sum of squares
  const auto better = gain > best_gain;
  best_scale = better ? scale : best_scale;
  best_gain = better ? gain : best_gain;
}

NARROW_INLINE void affine(const Groups& g, int most, bool falling, Affine* out) {
  Lanes least_value = g.values[0], most_value = g.values[0];
  for (int j = 1; j < g.length; ++j) {
    least_value = smaller(least_value, g.values[j]);
    most_value = larger(most_value, g.values[j]);
  }
  if (falling) least_value = smaller(least_value, all(0));
  const Moments m = moments_of(g);
  const Lanes range_inverse = inverse(most_value - least_value);
  Fit best = {all(0), all(0), m.square};
  const auto top = static_cast<float>(most);
  const int steps = most > 15 ? 10 : 20;  // more codes need fewer tries
  for (int step = 0; step < steps; ++step) {
    affine_step(g, m, range_inverse * (top - 0.8f + 2.1f / static_cast<float>(steps - 1) * static_cast<float>(step)), least_value, top, falling, best);
  }
  for (int again = 0; again < 2; ++again) affine_step(g, m, inverse(best.scale), best.offset, top, falling, best);
  *out = {best.scale, best.offset};
}

NARROW_INLINE void symmetric(const Groups& g, int least, int most, Lanes* out) {
  Lanes extreme = all(0);
  for (int j = 0; j < g.length; ++j) {
    const Lanes magnitude = g.values[j] < 0.0f ? -g.values[j] : g.values[j], so_far = extreme < 0.0f ? -extreme : extreme;
    extreme = magnitude > so_far ? g.values[j] : extreme;
  }
  // The extreme value takes the longer, negative side.
  const Lanes extreme_inverse = inverse(extreme);
  Lanes scale = all(0), gain = all(0);
  const auto bottom = static_cast<float>(least), top = static_cast<float>(most);
  const int steps = most > 15 ? 10 : 19;
  for (int step = 0; step < steps; ++step) {
    symmetric_step(g, extreme_inverse * (bottom + 1.2f - 1.8f / static_cast<float>(steps - 1) * static_cast<float>(step)), bottom, top, scale, gain);
  }
  for (int step = 0; step < 3; ++step) symmetric_step(g, extreme_inverse * (top + 0.3f * static_cast<float>(step)), bottom, top, scale, gain);
  for (int again = 0; again < 2; ++again) symmetric_step(g, inverse(scale), bottom, top, scale, gain);
  *out = scale;
}

NARROW_INLINE void nearest(const Groups& g, const Lanes& scale, const Lanes& offset, int least, int most, Lanes* codes, Lanes* out) {
  const Lanes scale_inverse = inverse(scale);
  Lanes error = all(0);
  for (int j = 0; j < g.length; ++j) {
    const Lanes code = code_of(scale_inverse * (g.values[j] - offset), static_cast<float>(least), static_cast<float>(most));
    const Lanes left = g.values[j] - offset - scale * code;
    error += g.weights[j] * left * left;
    codes[j] = code;
  }
  *out = error;
}

// The same for processors that have eight lanes in a register. Without fused multiplication, so the results are the same.
// Lanes go through memory: registers that return them differ.
#if defined(__x86_64__)
[[gnu::target("avx2")]] void affine_avx2(const Groups& g, int most, bool falling, Affine* out) { affine(g, most, falling, out); }
[[gnu::target("avx2")]] void symmetric_avx2(const Groups& g, int least, int most, Lanes* out) { symmetric(g, least, most, out); }
[[gnu::target("avx2")]] void nearest_avx2(const Groups& g, const Lanes& scale, const Lanes& offset, int least, int most, Lanes* codes, Lanes* out) {
  nearest(g, scale, offset, least, most, codes, out);
}
#endif
void affine_any(const Groups& g, int most, bool falling, Affine* out) { affine(g, most, falling, out); }
void symmetric_any(const Groups& g, int least, int most, Lanes* out) { symmetric(g, least, most, out); }
void nearest_any(const Groups& g, const Lanes& scale, const Lanes& offset, int least, int most, Lanes* codes, Lanes* out) { nearest(g, scale, offset, least, most, codes, out); }

struct Functions {
  decltype(&affine_any) affine = affine_any;
  decltype(&symmetric_any) symmetric = symmetric_any;
  decltype(&nearest_any) nearest = nearest_any;
};

const Functions& functions() {
  static const Functions kChosen = [] {
#if defined(__x86_64__)
    if (base::effective_isa() >= base::Isa::kAvx2) return Functions{affine_avx2, symmetric_avx2, nearest_avx2};
#endif
    return Functions{};
  }();
  return kChosen;
}

}  // namespace

float weight_factor(const float* importance, int count) {
  if (importance == nullptr) return 0;
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += importance[i];
  return sum > 1e-30f && sum < 1e30f ? static_cast<float>(count) / sum : 0.0f;
}

void Groups::load(const float* from, const float* importance, float factor, int count) {
  constexpr float kLeastWeight = 1e-6f;  // a group that nothing looks at still gets sensible codes
  length = count;
  for (int j = 0; j < length; ++j) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = from[lane * length + j];
      values[j][lane] = value > kMost ? kMost : value < -kMost ? -kMost : value;
      weights[j][lane] = importance == nullptr ? 1.0f : importance[lane * length + j] * factor + kLeastWeight;
    }
  }
}

Affine fit_affine(const Groups& g, int most, bool falling) {
  Affine found;
  functions().affine(g, most, falling, &found);
  return found;
}

Lanes fit_symmetric(const Groups& g, int least, int most) {
  Lanes scale;
  functions().symmetric(g, least, most, &scale);
  return scale;
}

Lanes nearest_codes(const Groups& g, const Lanes& scale, const Lanes& offset, int least, int most, Lanes* codes) {
  Lanes error;
  functions().nearest(g, scale, offset, least, most, codes, &error);
  return error;
}

}  // namespace narrow::encodings::ggml
