// OLMo: norms without weights (arXiv:2402.00838). OLMo 2: norms behind attention and mlp instead of before (arXiv:2501.00656).
#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_olmo(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  spec.norm = NormKind::kLayer;
  spec.norm_epsilon = 1e-5;
  spec.norm_has_weight = false;
  NARROW_TRY(spec.clip_qkv, config.number_or("clip_qkv", 0));
  return spec;
}

Result<Spec> read_olmo2(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  const std::string layer = "model.layers.{}.";
  spec.names.attention_norm = spec.names.mlp_norm = "";
  spec.names.post_attention_norm = layer + "post_attention_layernorm";
  spec.names.post_mlp_norm = layer + "post_feedforward_layernorm";
  spec.names.q_norm = layer + "self_attn.q_norm";
  spec.names.k_norm = layer + "self_attn.k_norm";
  spec.qk_norm_whole = true;
  return spec;
}

}  // namespace narrow::language
