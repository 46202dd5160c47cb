// Sixteen elements at a time, by the arithmetic of elementwise_avx2.cc. The last few go through the same arithmetic under a mask, so that an element's result does
// not depend on where it lies.
#include <immintrin.h>

#include "kernels/elementwise/elementwise.h"

namespace narrow::kernels {
namespace {

__mmask16 tail_mask(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

__m512 splat(float v) { return _mm512_set1_ps(v); }

// e^x = 2^k e^r with |r| <= ln 2 / 2; the polynomial is Cephes' expf. Results underflow gradually and overflow to infinity.
__m512 exp_ps(__m512 x) {
  x = _mm512_min_ps(splat(89.0f), _mm512_max_ps(splat(-104.0f), x));  // operand order keeps NaN
  const __m512 k = _mm512_roundscale_ps(_mm512_mul_ps(x, splat(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(k, splat(0.693359375f), x);
  r = _mm512_fnmadd_ps(k, splat(-2.12194440e-4f), r);
  __m512 p = splat(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, splat(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, splat(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, splat(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, splat(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, splat(5.0000001201e-1f));
  p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
  p = _mm512_add_ps(p, splat(1.0f));
  return _mm512_scalef_ps(p, k);
}

// 1 / v for finite, normal v: an estimate of 14 bits and one step of Newton's, a third of a division's time.
__m512 reciprocal_ps(__m512 v) {
  const __m512 y = _mm512_rcp14_ps(v);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(v, y, splat(2.0f)));
}

// Below -87.3 the result is no normal number, and 0 here.
__m512 sigmoid_ps(__m512 x) {
  const __m512 e = exp_ps(_mm512_xor_ps(_mm512_max_ps(splat(-87.5f), x), splat(-0.0f)));
  const __mmask16 kept = _mm512_cmp_ps_mask(x, splat(-87.3f), _CMP_NLT_UQ);
  return _mm512_maskz_mov_ps(kept, reciprocal_ps(_mm512_add_ps(splat(1.0f), e)));
}

// Near 0 Cephes' polynomial, elsewhere 1 - 2 / (e^2|x| + 1) with the sign of x.
__m512 tanh_ps(__m512 x) {
  const __m512 sign = _mm512_and_ps(x, splat(-0.0f));
  const __m512 magnitude = _mm512_andnot_ps(splat(-0.0f), x);
  const __m512 z = _mm512_mul_ps(x, x);
  __m512 p = splat(-5.70498872745e-3f);
  p = _mm512_fmadd_ps(p, z, splat(2.06390887954e-2f));
  p = _mm512_fmadd_ps(p, z, splat(-5.37397155531e-2f));
  p = _mm512_fmadd_ps(p, z, splat(1.33314422036e-1f));
  p = _mm512_fmadd_ps(p, z, splat(-3.33332819422e-1f));
  const __m512 near = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
  const __m512 bounded = _mm512_min_ps(splat(20.0f), magnitude);  // where it is 1; operand order keeps NaN
  const __m512 e = exp_ps(_mm512_add_ps(bounded, bounded));
  const __m512 far = _mm512_fnmadd_ps(splat(2.0f), reciprocal_ps(_mm512_add_ps(e, splat(1.0f))), splat(1.0f));
  const __mmask16 use_far = _mm512_cmp_ps_mask(magnitude, splat(0.625f), _CMP_GT_OQ);
  return _mm512_or_ps(_mm512_mask_blend_ps(use_far, near, far), sign);  // also where the polynomial loses the sign of -0
}

// Near 0 x + x · polynomial of x^2; elsewhere 1 - e^polynomial of |x|, which is 1 in f32 from the bound on. Both were
// fitted for the least largest error; it stays below 1e-7 of the result.
__m512 erf_ps(__m512 x) {
  const __m512 sign = _mm512_and_ps(x, splat(-0.0f));
  const __m512 magnitude = _mm512_andnot_ps(splat(-0.0f), x);
  const __m512 z = _mm512_mul_ps(x, x);
  __m512 p = splat(-0.000602180604f);
  p = _mm512_fmadd_ps(p, z, splat(0.00499960128f));
  p = _mm512_fmadd_ps(p, z, splat(-0.0267712828f));
  p = _mm512_fmadd_ps(p, z, splat(0.112819552f));
  p = _mm512_fmadd_ps(p, z, splat(-0.376125067f));
  p = _mm512_fmadd_ps(p, z, splat(0.128379151f));
  const __m512 near = _mm512_fmadd_ps(p, x, x);
  const __m512 t = _mm512_min_ps(splat(3.95f), magnitude);  // operand order keeps NaN
  __m512 q = splat(-5.2232474e-07f);
  q = _mm512_fmadd_ps(q, t, splat(-1.43055186e-05f));
  q = _mm512_fmadd_ps(q, t, splat(0.000396674237f));
  q = _mm512_fmadd_ps(q, t, splat(-0.00405339571f));
  q = _mm512_fmadd_ps(q, t, splat(0.0248951074f));
  q = _mm512_fmadd_ps(q, t, splat(-0.108011834f));
  q = _mm512_fmadd_ps(q, t, splat(-0.633543551f));
  q = _mm512_fmadd_ps(q, t, splat(-1.12943411f));
  q = _mm512_fmadd_ps(q, t, splat(0.000160398107f));
  const __m512 far = _mm512_sub_ps(splat(1.0f), exp_ps(q));
  return _mm512_or_ps(_mm512_mask_blend_ps(_mm512_cmp_ps_mask(magnitude, splat(0.92f), _CMP_GT_OQ), near, far), sign);
}

__m512 clip_ps(__m512 x, __m512 low, __m512 high) { return _mm512_min_ps(high, _mm512_max_ps(low, x)); }

struct Negate { static __m512 of(__m512 x, const float*) { return _mm512_xor_ps(x, splat(-0.0f)); } };
struct Abs { static __m512 of(__m512 x, const float*) { return _mm512_andnot_ps(splat(-0.0f), x); } };
struct Sqrt { static __m512 of(__m512 x, const float*) { return _mm512_sqrt_ps(x); } };
struct Relu { static __m512 of(__m512 x, const float*) { return _mm512_max_ps(splat(0.0f), x); } };
struct Exp { static __m512 of(__m512 x, const float*) { return exp_ps(x); } };
struct Sigmoid { static __m512 of(__m512 x, const float*) { return sigmoid_ps(x); } };
struct Tanh { static __m512 of(__m512 x, const float*) { return tanh_ps(x); } };
struct Erf { static __m512 of(__m512 x, const float*) { return erf_ps(x); } };
struct Gelu {
  static __m512 of(__m512 x, const float*) {
    const __m512 gate = _mm512_fmadd_ps(splat(0.5f), erf_ps(_mm512_mul_ps(splat(0.70710678f), x)), splat(0.5f));
    return _mm512_mul_ps(x, gate);
  }
};
struct ReplaceNan {
  static __m512 of(__m512 x, const float* p) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x, splat(p[0])); }
};
struct Silu { static __m512 of(__m512 x, const float*) { return _mm512_mul_ps(x, sigmoid_ps(x)); } };
struct LeakyRelu {
  static __m512 of(__m512 x, const float* p) {
    return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, splat(0.0f), _CMP_LT_OQ), x, splat(p[0]));
  }
};
struct Clip { static __m512 of(__m512 x, const float* p) { return clip_ps(x, splat(p[0]), splat(p[1])); } };
struct HardSigmoid {
  static __m512 of(__m512 x, const float* p) {
    return clip_ps(_mm512_add_ps(_mm512_mul_ps(splat(p[0]), x), splat(p[1])), splat(0.0f), splat(1.0f));
  }
};
struct HardSwish {
  static __m512 of(__m512 x, const float* p) { return _mm512_mul_ps(x, HardSigmoid::of(x, p)); }
};

struct Add { static __m512 of(__m512 a, __m512 b) { return _mm512_add_ps(a, b); } };
struct Subtract { static __m512 of(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); } };
struct Multiply { static __m512 of(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); } };
struct Divide { static __m512 of(__m512 a, __m512 b) { return _mm512_div_ps(a, b); } };
// maxps answers its second operand when either is NaN: a NaN in a has to be put back.
struct Max {
  static __m512 of(__m512 a, __m512 b) {
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
  }
};
struct Min {
  static __m512 of(__m512 a, __m512 b) {
    return _mm512_mask_mov_ps(_mm512_min_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
  }
};

template <typename F>
void each(const float* x, float* y, std::size_t n, const float* params) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, F::of(_mm512_loadu_ps(x + i), params));
  if (i < n) {
    const __mmask16 mask = tail_mask(n - i);
    _mm512_mask_storeu_ps(y + i, mask, F::of(_mm512_maskz_loadu_ps(mask, x + i), params));
  }
}

template <typename F, bool a_vector, bool b_vector>
void pairs_of(const float* a, const float* b, float* y, std::size_t n) {
  const __m512 a0 = a_vector ? _mm512_setzero_ps() : splat(*a);
  const __m512 b0 = b_vector ? _mm512_setzero_ps() : splat(*b);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 va = a_vector ? _mm512_loadu_ps(a + i) : a0;
    const __m512 vb = b_vector ? _mm512_loadu_ps(b + i) : b0;
    _mm512_storeu_ps(y + i, F::of(va, vb));
  }
  if (i < n) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 va = a_vector ? _mm512_maskz_loadu_ps(mask, a + i) : a0;
    const __m512 vb = b_vector ? _mm512_maskz_loadu_ps(mask, b + i) : b0;
    _mm512_mask_storeu_ps(y + i, mask, F::of(va, vb));
  }
}

template <typename F>
void pairs(const float* a, int a_step, const float* b, int b_step, float* y, std::size_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) pairs_of<F, true, true>(a, b, y, n);
  else if (a_step != 0) pairs_of<F, true, false>(a, b, y, n);
  else if (b_step != 0) pairs_of<F, false, true>(a, b, y, n);
  else pairs_of<F, false, false>(a, b, y, n);
}

}  // namespace

UnaryF32Function unary_f32_avx512(UnaryF32 function) {
  switch (function) {
    case UnaryF32::kNegate: return each<Negate>;
    case UnaryF32::kAbs: return each<Abs>;
    case UnaryF32::kSqrt: return each<Sqrt>;
    case UnaryF32::kRelu: return each<Relu>;
    case UnaryF32::kExp: return each<Exp>;
    case UnaryF32::kSigmoid: return each<Sigmoid>;
    case UnaryF32::kTanh: return each<Tanh>;
    case UnaryF32::kSilu: return each<Silu>;
    case UnaryF32::kLeakyRelu: return each<LeakyRelu>;
    case UnaryF32::kClip: return each<Clip>;
    case UnaryF32::kHardSigmoid: return each<HardSigmoid>;
    case UnaryF32::kHardSwish: return each<HardSwish>;
    case UnaryF32::kErf: return each<Erf>;
    case UnaryF32::kGelu: return each<Gelu>;
    case UnaryF32::kReplaceNan: return each<ReplaceNan>;
  }
  return nullptr;
}

BinaryF32Function binary_f32_avx512(BinaryF32 function) {
  switch (function) {
    case BinaryF32::kAdd: return pairs<Add>;
    case BinaryF32::kSubtract: return pairs<Subtract>;
    case BinaryF32::kMultiply: return pairs<Multiply>;
    case BinaryF32::kDivide: return pairs<Divide>;
    case BinaryF32::kMax: return pairs<Max>;
    case BinaryF32::kMin: return pairs<Min>;
  }
  return nullptr;
}

}  // namespace narrow::kernels
