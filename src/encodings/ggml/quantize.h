// One function a type: `count` values into whole blocks. See blocks.h.
#pragma once

#include <cstdint>

namespace narrow::encodings::ggml {

using Quantize = void(const float* values, const float* importance, std::int64_t count, std::uint8_t* out);

Quantize quantize_f32, quantize_f16, quantize_bf16;
Quantize quantize_q4_0, quantize_q4_1, quantize_q5_0, quantize_q5_1, quantize_q8_0;
Quantize quantize_q4_k, quantize_q5_k, quantize_q6_k;

}  // namespace narrow::encodings::ggml
