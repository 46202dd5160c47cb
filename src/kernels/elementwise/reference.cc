// The oracle: plain loops over the C library's functions.
#include <cmath>

#include "kernels/elementwise/elementwise.h"

namespace narrow::kernels {
namespace {

template <float (*f)(float, const float*)>
void each(const float* x, float* y, std::size_t n, const float* params) {
  for (std::size_t i = 0; i < n; ++i) y[i] = f(x[i], params);
}

template <float (*f)(float, float)>
void pairs(const float* a, int a_step, const float* b, int b_step, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = f(a[i * a_step], b[i * b_step]);
}

// Comparisons are written so that a NaN passes through.
float clip(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}
float negate(float x, const float*) { return -x; }
float absolute(float x, const float*) { return std::fabs(x); }
float square_root(float x, const float*) { return std::sqrt(x); }
float relu(float x, const float*) { return x < 0 ? 0 : x; }
float exponential(float x, const float*) { return std::exp(x); }
float sigmoid(float x, const float*) { return 1.0f / (1.0f + std::exp(-x)); }
float hyperbolic_tangent(float x, const float*) { return std::tanh(x); }
float silu(float x, const float*) { return x * sigmoid(x, nullptr); }
float leaky_relu(float x, const float* p) { return x < 0 ? p[0] * x : x; }
float clip_to(float x, const float* p) { return clip(x, p[0], p[1]); }
float hard_sigmoid(float x, const float* p) { return clip(p[0] * x + p[1], 0, 1); }
float hard_swish(float x, const float* p) { return x * hard_sigmoid(x, p); }
float error_function(float x, const float*) { return std::erf(x); }
float gelu(float x, const float*) { return x * (0.5f + 0.5f * std::erf(0.70710678f * x)); }
float replace_nan(float x, const float* p) { return x == x ? x : p[0]; }

float add(float a, float b) { return a + b; }
float subtract(float a, float b) { return a - b; }
float multiply(float a, float b) { return a * b; }
float divide(float a, float b) { return a / b; }
float larger(float a, float b) { return a != a || a > b ? a : b; }
float smaller(float a, float b) { return a != a || a < b ? a : b; }

}  // namespace

UnaryF32Function unary_f32_reference(UnaryF32 function) {
  switch (function) {
    case UnaryF32::kNegate: return each<negate>;
    case UnaryF32::kAbs: return each<absolute>;
    case UnaryF32::kSqrt: return each<square_root>;
    case UnaryF32::kRelu: return each<relu>;
    case UnaryF32::kExp: return each<exponential>;
    case UnaryF32::kSigmoid: return each<sigmoid>;
    case UnaryF32::kTanh: return each<hyperbolic_tangent>;
    case UnaryF32::kSilu: return each<silu>;
    case UnaryF32::kLeakyRelu: return each<leaky_relu>;
    case UnaryF32::kClip: return each<clip_to>;
    case UnaryF32::kHardSigmoid: return each<hard_sigmoid>;
    case UnaryF32::kHardSwish: return each<hard_swish>;
    case UnaryF32::kErf: return each<error_function>;
    case UnaryF32::kGelu: return each<gelu>;
    case UnaryF32::kReplaceNan: return each<replace_nan>;
  }
  return nullptr;
}

BinaryF32Function binary_f32_reference(BinaryF32 function) {
  switch (function) {
    case BinaryF32::kAdd: return pairs<add>;
    case BinaryF32::kSubtract: return pairs<subtract>;
    case BinaryF32::kMultiply: return pairs<multiply>;
    case BinaryF32::kDivide: return pairs<divide>;
    case BinaryF32::kMax: return pairs<larger>;
    case BinaryF32::kMin: return pairs<smaller>;
  }
  return nullptr;
}

}  // namespace narrow::kernels
