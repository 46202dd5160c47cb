// What the tensors of a language model are called in GGUF, and how their rows lie there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "language/spec.h"
#include "narrow/result.h"

namespace narrow::language {

// A family that llama.cpp knows under a name of its own.
struct GgufFamily {
  std::string_view model_type;    // config.json's
  std::string_view architecture;  // general.architecture
  bool interleaved;               // rows of queries and keys: neighbours rotate against each other, not halves
};

// Errors: unsupported, naming the families that can be written.
Result<const GgufFamily*> gguf_family(std::string_view model_type);

// What a tensor does, as far as mixtures of types ask.
enum class GgufPart : std::uint8_t { kEmbedding, kPositions, kOutput, kNorm, kRouter, kKey, kValue, kQkv, kAttentionOutput, kDown, kOther };

struct GgufName {
  std::string name;            // "blk.0.attn_q": ".weight" or ".bias" follows
  std::string module;          // "model.layers.0.self_attn.q_proj"; "{}" stands for the expert where there are several
  GgufPart part = GgufPart::kOther;
  std::int64_t layer = -1;     // none: -1
  std::int64_t head = 0;       // rows a head, where they are interleaved
  std::int64_t experts = 0;    // > 0: so many weights, one behind the other
  bool plus_one = false;       // holds one more than the checkpoint's weight
  bool one_row = false;        // a matrix of one row, without that dimension
};

// Every module that a model of this shape can have; which have a bias its tensors say. Errors: gguf_family's.
Result<std::vector<GgufName>> gguf_names(const Spec& spec);

}  // namespace narrow::language
