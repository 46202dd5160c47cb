// Encoders of the BERT family: BERT (Devlin et al. 2018, arXiv:1810.04805; MiniLM and most sentence encoders are such), RoBERTa,
// DistilBERT, MPNet.
#include <fmt/format.h>

#include "language/architectures/architectures.h"

namespace narrow::language {
namespace {

constexpr std::int64_t kMostLayers = 4096, kMostSize = 1 << 24;

struct SizeNames {
  const char *hidden = "hidden_size", *layers = "num_hidden_layers", *heads = "num_attention_heads", *intermediate = "intermediate_size", *activation = "hidden_act";
};

// `skips_padding`: positions are counted from the padding token's id + 1 on.
Result<Spec> read_sizes(const wire::Fields& config, const SizeNames& names, bool skips_padding) {
  Spec spec;
  spec.encoder = true;
  const auto size = [&](const char* name, std::int64_t most) -> Result<std::int64_t> {
    NARROW_TRY(const std::int64_t found, config.whole(name));
    if (found >= 1 && found <= most) return found;
    return corrupt(fmt::format("{}.{}: {} is not within 1 and {}", config.where(), name, found, most));
  };
  NARROW_TRY(spec.vocabulary, size("vocab_size", kMostSize));
  NARROW_TRY(spec.hidden, size(names.hidden, kMostSize));
  NARROW_TRY(spec.layers, size(names.layers, kMostLayers));
  NARROW_TRY(spec.heads, size(names.heads, kMostSize));
  NARROW_TRY(spec.intermediate, size(names.intermediate, kMostSize));
  NARROW_TRY(spec.position_rows, size("max_position_embeddings", kMostSize));
  if (spec.hidden % spec.heads != 0) return corrupt(fmt::format("{}: {} numbers cannot be shared by {} heads", config.where(), spec.hidden, spec.heads));
  spec.key_heads = spec.heads;
  spec.head_size = spec.hidden / spec.heads;
  if (skips_padding) {
    NARROW_TRY(const std::int64_t pad, config.whole_or("pad_token_id", 1));
    spec.position_offset = pad + 1;
  }
  spec.max_positions = spec.position_rows - spec.position_offset;
  if (spec.max_positions < 1) return corrupt(fmt::format("{}.max_position_embeddings: {} are used up by the {} in front of the first token", config.where(), spec.position_rows, spec.position_offset));
  NARROW_TRY(spec.norm_epsilon, config.number_or("layer_norm_eps", 1e-12));
  spec.activation = Activation::kGelu;
  if (config.has(names.activation)) {
    NARROW_TRY(spec.activation, read_activation(config, names.activation));
  }
  NARROW_TRY(const bool decodes, config.flag_or("is_decoder", false));
  if (decodes) return unsupported(fmt::format("{}: a model of this family that decodes (is_decoder) is not known here", config.where()));
  NARROW_TRY(const std::string kind, config.text_or("position_embedding_type", "absolute"));
  if (kind != "absolute") return unsupported(fmt::format("{}.position_embedding_type: '{}' is not known here, known is absolute", config.where(), kind));
  spec.head_activation = spec.activation;
  spec.norm = NormKind::kLayer;
  spec.gated_mlp = false;
  spec.tied_head = true;
  return spec;
}

// The names of BERT's embeddings and layers below `root`.
void name_like_bert(Spec& spec, const std::string& root) {
  Names& names = spec.names;
  names.embedding = root + "embeddings.word_embeddings";
  names.positions = root + "embeddings.position_embeddings";
  names.embedding_norm = root + "embeddings.LayerNorm";
  const std::string layer = root + "encoder.layer.{}.";
  names.q = layer + "attention.self.query";
  names.k = layer + "attention.self.key";
  names.v = layer + "attention.self.value";
  names.o = layer + "attention.output.dense";
  names.attention_norm = layer + "attention.output.LayerNorm";
  names.up = layer + "intermediate.dense";
  names.down = layer + "output.dense";
  names.mlp_norm = layer + "output.LayerNorm";
}

void name_head_like_roberta(Spec& spec) {
  spec.names.head_dense = "lm_head.dense";
  spec.names.head_norm = "lm_head.layer_norm";
  spec.names.head = "lm_head.decoder";
  spec.names.head_bias = "lm_head.bias";
  spec.head_activation = Activation::kGelu;
}

Status read_token_types(const wire::Fields& config, const std::string& root, Spec& spec) {
  NARROW_TRY(spec.token_types, config.whole_or("type_vocab_size", 2));
  if (spec.token_types > kMostSize) return corrupt(fmt::format("{}.type_vocab_size: {}", config.where(), spec.token_types));
  spec.names.token_types = root + "embeddings.token_type_embeddings";
  return {};
}

}  // namespace

Result<Spec> read_bert(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_sizes(config, {}, false));
  name_like_bert(spec, "bert.");
  NARROW_RETURN_IF_ERROR(read_token_types(config, "bert.", spec));
  spec.names.head_dense = "cls.predictions.transform.dense";
  spec.names.head_norm = "cls.predictions.transform.LayerNorm";
  spec.names.head = "cls.predictions.decoder";
  spec.names.head_bias = "cls.predictions.bias";
  return spec;
}

Result<Spec> read_roberta(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_sizes(config, {}, true));
  name_like_bert(spec, "roberta.");
  NARROW_RETURN_IF_ERROR(read_token_types(config, "roberta.", spec));
  name_head_like_roberta(spec);
  return spec;
}

Result<Spec> read_distilbert(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_sizes(config, {"dim", "n_layers", "n_heads", "hidden_dim", "activation"}, false));
  spec.norm_epsilon = 1e-12;
  Names& names = spec.names;
  name_like_bert(spec, "distilbert.");
  const std::string layer = "distilbert.transformer.layer.{}.";
  names.q = layer + "attention.q_lin";
  names.k = layer + "attention.k_lin";
  names.v = layer + "attention.v_lin";
  names.o = layer + "attention.out_lin";
  names.attention_norm = layer + "sa_layer_norm";
  names.up = layer + "ffn.lin1";
  names.down = layer + "ffn.lin2";
  names.mlp_norm = layer + "output_layer_norm";
  names.head_dense = "vocab_transform";
  names.head_norm = "vocab_layer_norm";
  names.head = "vocab_projector";
  return spec;
}

Result<Spec> read_mpnet(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_sizes(config, {}, true));
  name_like_bert(spec, "mpnet.");
  name_head_like_roberta(spec);
  const std::string layer = "mpnet.encoder.layer.{}.attention.";
  spec.names.q = layer + "attn.q";
  spec.names.k = layer + "attn.k";
  spec.names.v = layer + "attn.v";
  spec.names.o = layer + "attn.o";
  spec.names.attention_norm = layer + "LayerNorm";
  spec.names.relative_bias = "mpnet.encoder.relative_attention_bias";
  NARROW_TRY(spec.relative_buckets, config.whole_or("relative_attention_num_buckets", 32));
  if (spec.relative_buckets < 4 || spec.relative_buckets % 4 != 0 || spec.relative_buckets > 256) {
    return corrupt(fmt::format("{}.relative_attention_num_buckets: {} is not a multiple of 4 up to 256", config.where(), spec.relative_buckets));
  }
  return spec;
}

}  // namespace narrow::language
