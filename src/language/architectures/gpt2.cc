// GPT-2 (Radford et al. 2019): learned positions, biases everywhere, weights stored [in, out].
#include <fmt/format.h>

#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_gpt2(const wire::Fields& config) {
  Spec spec;
  NARROW_TRY(spec.vocabulary, config.whole("vocab_size"));
  NARROW_TRY(spec.hidden, config.whole("n_embd"));
  NARROW_TRY(spec.layers, config.whole("n_layer"));
  NARROW_TRY(spec.heads, config.whole("n_head"));
  NARROW_TRY(spec.max_positions, config.whole("n_positions"));
  constexpr std::int64_t kMost = 1 << 24;
  if (spec.vocabulary < 1 || spec.hidden < 1 || spec.layers < 1 || spec.heads < 1 || spec.max_positions < 1 || spec.vocabulary > kMost || spec.hidden > kMost || spec.layers > 4096 ||
      spec.max_positions > kMost || spec.hidden % spec.heads != 0) {
    return corrupt(fmt::format("{}: {} layers of {} numbers in {} heads are not possible", config.where(), spec.layers, spec.hidden, spec.heads));
  }
  spec.key_heads = spec.heads;
  spec.head_size = spec.hidden / spec.heads;
  NARROW_TRY(spec.intermediate, config.whole_or("n_inner", 4 * spec.hidden));
  NARROW_TRY(spec.norm_epsilon, config.number_or("layer_norm_epsilon", 1e-5));
  spec.activation = Activation::kGeluTanh;
  if (config.has("activation_function")) {
    NARROW_TRY(spec.activation, read_activation(config, "activation_function"));
  }
  NARROW_TRY(spec.tied_head, config.flag_or("tie_word_embeddings", true));
  spec.norm = NormKind::kLayer;
  spec.gated_mlp = false;
  spec.stored_transposed = true;
  Names& names = spec.names;
  names.embedding = "transformer.wte";
  names.positions = "transformer.wpe";
  names.final_norm = "transformer.ln_f";
  names.head = "lm_head";
  const std::string layer = "transformer.h.{}.";
  names.attention_norm = layer + "ln_1";
  names.mlp_norm = layer + "ln_2";
  names.qkv = layer + "attn.c_attn";
  names.o = layer + "attn.c_proj";
  names.up = layer + "mlp.c_fc";
  names.down = layer + "mlp.c_proj";
  return spec;
}

}  // namespace narrow::language
