// Gemma 1, 2 and 3 (arXiv:2403.08295, arXiv:2408.00118, arXiv:2503.19786).
#include <fmt/format.h>

#include <cmath>

#include "language/architectures/architectures.h"

namespace narrow::language {
namespace {

Result<Spec> read_base(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  spec.norm_plus_one = true;
  spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden));
  NARROW_TRY(spec.tied_head, config.flag_or("tie_word_embeddings", true));
  spec.activation = Activation::kGeluTanh;
  for (const char* field : {"hidden_activation", "hidden_act"}) {  // the first is the one that the reference code obeys
    if (!config.has(field)) continue;
    NARROW_TRY(spec.activation, read_activation(config, field));
    if (spec.activation == Activation::kGelu) spec.activation = Activation::kGeluTanh;  // files say "gelu" and mean this
    break;
  }
  return spec;
}

// Norms before and after attention and mlp, and a scale of the scores of its own.
Status read_second(const wire::Fields& config, Spec& spec) {
  const std::string layer = "model.layers.{}.";
  spec.names.post_attention_norm = layer + "post_attention_layernorm";
  spec.names.mlp_norm = layer + "pre_feedforward_layernorm";
  spec.names.post_mlp_norm = layer + "post_feedforward_layernorm";
  NARROW_TRY(const double scalar, config.number_or("query_pre_attn_scalar", 256));
  if (!(scalar > 0)) return corrupt(fmt::format("{}: query_pre_attn_scalar is {}", config.where(), scalar));
  spec.attention_scale = 1 / std::sqrt(scalar);
  NARROW_TRY(spec.attention_softcap, config.number_or("attn_logit_softcapping", 0));
  NARROW_TRY(spec.logit_softcap, config.number_or("final_logit_softcapping", 0));
  return {};
}

// Where the config has no layer_types: which layers have the window.
void set_windows(Spec& spec, std::int64_t period, bool last_of_period_is_full) {
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(spec.windows.size()); ++i) {
    const bool full = last_of_period_is_full ? (i + 1) % period == 0 : i % period != 0;
    if (full) spec.windows[static_cast<std::size_t>(i)] = 0;
  }
}

}  // namespace

Result<Spec> read_gemma(const wire::Fields& config) { return read_base(config); }

Result<Spec> read_gemma2(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_base(config));
  NARROW_RETURN_IF_ERROR(read_second(config, spec));
  if (!config.has("layer_types")) set_windows(spec, 2, false);
  return spec;
}

Result<Spec> read_gemma3(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_base(config));
  NARROW_RETURN_IF_ERROR(read_second(config, spec));
  spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
  spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
  NARROW_TRY(const std::int64_t period, config.whole_or("sliding_window_pattern", 6));
  if (!config.has("layer_types") && period > 0) set_windows(spec, period, true);
  if (!spec.has_local_rope) {
    NARROW_TRY(const double local, config.number_or("rope_local_base_freq", 10000));
    NARROW_TRY(spec.local_rope, read_rope(config, std::nullopt, spec.head_size, local));
    spec.has_local_rope = true;
    if (!config.has("rope_theta") && !config.has("rope_parameters")) spec.rope.theta = 1e6;
  }
  return spec;
}

}  // namespace narrow::language
