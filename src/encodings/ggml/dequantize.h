// One function a type: `count` values from whole blocks. See blocks.h.
#pragma once

#include <cstdint>

namespace narrow::encodings::ggml {

using Dequantize = void(const std::uint8_t* blocks, std::int64_t count, float* out);

Dequantize dequantize_f32, dequantize_f16, dequantize_bf16, dequantize_f64;
Dequantize dequantize_q4_0, dequantize_q4_1, dequantize_q5_0, dequantize_q5_1, dequantize_q8_0, dequantize_q8_1;
Dequantize dequantize_q2_k, dequantize_q3_k, dequantize_q4_k, dequantize_q5_k, dequantize_q6_k, dequantize_q8_k;
Dequantize dequantize_iq4_nl, dequantize_iq4_xs, dequantize_tq1_0, dequantize_tq2_0, dequantize_mxfp4, dequantize_nvfp4;
Dequantize dequantize_iq1_s, dequantize_iq1_m, dequantize_iq2_xxs, dequantize_iq2_xs, dequantize_iq2_s, dequantize_iq3_xxs, dequantize_iq3_s;

}  // namespace narrow::encodings::ggml
