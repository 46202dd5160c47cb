// The search for scales: eight groups of values side by side, one in each lane, so that no sum runs across lanes.
#pragma once

#include <cstdint>

// Every function that passes these is built with one set of flags.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace narrow::encodings::ggml {

constexpr int kLanes = 8;
using Lanes = float __attribute__((vector_size(sizeof(float) * kLanes)));

// `length` values of each group: element j of all eight groups is values[j].
struct Groups {
  int length = 0;
  Lanes values[32];
  Lanes weights[32];

  // Reads eight groups of `length` neighbouring values. Weights are importance times `factor` (weight_factor()), and 1
  // without importance.
  void load(const float* from, const float* importance, float factor, int length);
};

// What makes the mean of `count` weights 1, so that their size does not decide what is finite; 0 where there are none.
float weight_factor(const float* importance, int count);

// value = scale * code + offset for codes 0 .. most, by the least weighted squared error. With `falling` offset <= 0.
// Scales are >= 0; 0 in a group of equal values.
struct Affine {
  Lanes scale, offset;
};
Affine fit_affine(const Groups& groups, int most, bool falling);

// value = scale * code for codes least .. most, least < 0. Scales have either sign, 0 in a group of zeros.
Lanes fit_symmetric(const Groups& groups, int least, int most);

// The codes nearest to (value - offset) / scale, and the weighted squared error that they leave. Codes are 0 (or the
// nearest allowed) where the scale is 0.
Lanes nearest_codes(const Groups& groups, const Lanes& scale, const Lanes& offset, int least, int most, Lanes* codes);

}  // namespace narrow::encodings::ggml
