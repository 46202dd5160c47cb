// GPT-NeoX and Pythia (arXiv:2204.06745, arXiv:2304.01373): attention and mlp side by side, rotary on part of a head.
#include <fmt/format.h>

#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_gpt_neox(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  NARROW_TRY(spec.norm_epsilon, config.number_or("layer_norm_eps", 1e-5));
  NARROW_TRY(spec.parallel_residual, config.flag_or("use_parallel_residual", true));
  std::optional<wire::Fields> parameters = config.find("rope_parameters");
  if (!parameters) parameters = config.find("rope_scaling");
  NARROW_TRY(const double theta, config.number_or("rotary_emb_base", spec.rope.theta));
  double part = static_cast<double>(spec.rope.dims) / static_cast<double>(spec.head_size);
  NARROW_TRY(part, config.number_or("rotary_pct", parameters && parameters->has("partial_rotary_factor") ? part : 0.25));
  if (!(part > 0) || part > 1) return corrupt(fmt::format("{}: rotary_pct is {}, expected 0 to 1", config.where(), part));
  NARROW_TRY(spec.rope, read_rope(config, parameters, static_cast<std::int64_t>(static_cast<double>(spec.head_size) * part), theta));
  spec.norm = NormKind::kLayer;
  spec.gated_mlp = false;
  spec.qkv_order = QkvOrder::kByHead;
  Names names;
  names.embedding = "gpt_neox.embed_in";
  names.final_norm = "gpt_neox.final_layer_norm";
  names.head = "embed_out";
  const std::string layer = "gpt_neox.layers.{}.";
  names.attention_norm = layer + "input_layernorm";
  names.mlp_norm = layer + "post_attention_layernorm";
  names.qkv = layer + "attention.query_key_value";
  names.o = layer + "attention.dense";
  names.up = layer + "mlp.dense_h_to_4h";
  names.down = layer + "mlp.dense_4h_to_h";
  spec.names = names;
  return spec;
}

}  // namespace narrow::language
