// Phi-3 and Phi-4-mini: query, key and value in one matrix, gate and up in another (arXiv:2404.14219).
#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_phi3(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  Names& names = spec.names;
  names.q = names.k = names.v = names.gate = names.up = "";
  names.qkv = "model.layers.{}.self_attn.qkv_proj";
  names.gate_up = "model.layers.{}.mlp.gate_up_proj";
  return spec;
}

}  // namespace narrow::language
