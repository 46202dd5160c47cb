// Opens a GGUF file as a checkpoint with Hugging Face's names.
#pragma once

#include <string>

#include "language/checkpoint.h"

namespace narrow::language {

// Weights are decoded when they are asked for; nothing is kept. Errors: not_found, io, corrupt, unsupported.
Result<Checkpoint> open_gguf(const std::string& path, Result<Spec> (*parse_spec)(const std::string& config_json, const std::string& where));

}  // namespace narrow::language
