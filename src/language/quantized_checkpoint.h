// Reading checkpoints that are quantized already: GPTQ, AWQ, compressed-tensors and bitsandbytes folders.
#pragma once

#include <memory>

#include "language/weights.h"
#include "wire/json.h"

namespace narrow::language {

// `plain` with the weights that config.json's `quantization_config` speaks of. Errors: unsupported (a method that is not
// known here), corrupt.
Result<std::shared_ptr<const WeightSource>> open_quantized(std::shared_ptr<const WeightSource> plain, const wire::Fields& settings);

}  // namespace narrow::language
