// A language model on disk: config.json and weights, opened without reading them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "language/spec.h"
#include "language/weights.h"

namespace narrow::language {

struct Checkpoint {
  std::string path;                          // as given
  std::string config_json;                   // its text; made up for formats that have none
  Spec spec;
  std::shared_ptr<const WeightSource> weights;
  std::vector<std::string> tensor_names;     // all tensors, in the order of the files
  std::vector<std::string> files;            // that the weights lie in
};

// Whether open_checkpoint would try: a folder with config.json, a .safetensors beside one, a llama2.c checkpoint, a GGUF file.
bool is_checkpoint(const std::string& path);

// A Hugging Face folder (single or sharded safetensors), a llama2.c file or a GGUF file.
// Errors: not_found, io, corrupt, unsupported (an architecture), all naming the file.
Result<Checkpoint> open_checkpoint(const std::string& path);

}  // namespace narrow::language
