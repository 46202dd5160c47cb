// The codes of bitsandbytes: what each stands for, to be multiplied by the largest magnitude of its block.
#pragma once

#include <span>

namespace narrow::encodings {

// One sign bit, two exponent bits, one mantissa bit; the largest is 1.
inline constexpr float kFp4Values[16] = {0.0f,  5.208333333e-03f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
                                         -0.0f, -5.208333333e-03f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

// Quantiles of the normal distribution (Dettmers et al. 2023, arXiv:2305.14314).
inline constexpr float kNf4Values[16] = {-1.0f,
                                         -0.6961928009986877f,
                                         -0.5250730514526367f,
                                         -0.39491748809814453f,
                                         -0.28444138169288635f,
                                         -0.18477343022823334f,
                                         -0.09105003625154495f,
                                         0.0f,
                                         0.07958029955625534f,
                                         0.16093020141124725f,
                                         0.24611230194568634f,
                                         0.33791524171829224f,
                                         0.44070982933044434f,
                                         0.5626170039176941f,
                                         0.7229568362236023f,
                                         1.0f};

// The signed "dynamic" 8-bit map, rising (Dettmers 2015, arXiv:1511.04561): what absmax is quantized to when it is quantized.
std::span<const float, 256> dynamic_map();

}  // namespace narrow::encodings
