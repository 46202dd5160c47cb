// A model's sizes and settings as GGUF's key-value pairs, and back as the config.json that they stand for.
#pragma once

#include <string>

#include "language/spec.h"
#include "wire/gguf.h"
#include "formats/gguf/gguf.h"

namespace narrow::language {

// Sets general.architecture and "<architecture>.*". Errors: gguf_family's.
Status set_gguf_hyperparameters(const Spec& spec, wire::GgufMetadata& metadata);

// By how much each rotation is slower than the plain one, where the file says it by a tensor: rope_freqs.weight, or the
// pair rope_factors_long and rope_factors_short. Empty: by metadata or not at all.
struct GgufFactors {
  std::string name;
  std::vector<float> factors;
};
std::vector<GgufFactors> gguf_rope_factors(const Spec& spec);

// The config.json of the model in the file. Errors: corrupt (a key that is missing or of another type), unsupported (an
// architecture, or settings that vary by layer).
Result<std::string> config_of_gguf(const formats::gguf::File& file);

}  // namespace narrow::language
