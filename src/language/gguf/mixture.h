// Which block type each tensor of a GGUF file gets: "Q4_K_M" is Q4_K for most and better ones where it matters.
#pragma once

#include <cstdint>
#include <string_view>

#include "encodings/ggml/blocks.h"
#include "language/gguf/tensor_names.h"
#include "tensor/tensor.h"

namespace narrow::language {

struct GgufMixture {
  std::string_view name;          // "Q4_K_M"
  std::uint32_t file_type;        // general.file_type
  encodings::GgmlType base;
};

// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K_S, Q4_K_M (also "Q4_K"), Q5_K_S, Q5_K_M ("Q5_K"), Q6_K, in any case.
// Errors: invalid_argument, naming them.
Result<const GgufMixture*> find_gguf_mixture(std::string_view name);

// The type of one tensor, by the rules of llama.cpp's quantizer, and a type of smaller blocks where rows do not hold whole
// ones.
encodings::GgmlType gguf_tensor_type(const GgufMixture& mixture, const Spec& spec, const GgufName& name, const Shape& shape, bool importance);

}  // namespace narrow::language
