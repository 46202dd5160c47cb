#include <fmt/format.h>

#include <cmath>

#include "language/architectures/architectures.h"

namespace narrow::language {
namespace {

// Bounds that no real model passes, so that products of sizes cannot overflow.
constexpr std::int64_t kMostLayers = 4096, kMostSize = 1 << 24;

Result<std::int64_t> size_of(const wire::Fields& config, std::string_view name, std::int64_t most = kMostSize) {
  NARROW_TRY(const std::int64_t size, config.whole(name));
  if (size >= 1 && size <= most) return size;
  return corrupt(fmt::format("{}.{}: {} is not within 1 and {}", config.where(), name, size, most));
}

Result<std::vector<double>> read_factors(const wire::Fields& parameters, std::string_view name, std::int64_t dims) {
  NARROW_TRY(const std::vector<wire::Fields> items, parameters.list(name));
  std::vector<double> factors;
  for (const wire::Fields& item : items) {
    NARROW_TRY(const double factor, item.as_number());
    if (!(factor > 0)) return item.wrong("a positive number");
    factors.push_back(factor);
  }
  if (static_cast<std::int64_t>(factors.size()) == dims / 2) return factors;
  return corrupt(fmt::format("{}.{}: {} factors for {} frequencies", parameters.where(), name, factors.size(), dims / 2));
}

// Per layer, from `layer_types` where the config has it.
Result<std::vector<std::int64_t>> read_windows(const wire::Fields& config, std::int64_t layers) {
  std::vector<std::int64_t> windows;
  NARROW_TRY(const bool wanted, config.flag_or("use_sliding_window", true));
  NARROW_TRY(const std::int64_t window, config.whole_or("sliding_window", 0));
  if (!wanted || window == 0) return windows;
  if (config.has("layer_types")) {
    NARROW_TRY(const std::vector<wire::Fields> types, config.list("layer_types"));
    for (const wire::Fields& type : types) {
      NARROW_TRY(const std::string name, type.as_text());
      if (name != "sliding_attention" && name != "full_attention") return unsupported(fmt::format("{}: attention '{}' is not known here", type.where(), name));
      windows.push_back(name == "sliding_attention" ? window : 0);
    }
    if (static_cast<std::int64_t>(windows.size()) != layers) return corrupt(fmt::format("{}.layer_types: {} for {} layers", config.where(), windows.size(), layers));
    return windows;
  }
  windows.assign(static_cast<std::size_t>(layers), window);
  if (config.has("max_window_layers")) {  // Qwen: only from that layer on
    NARROW_TRY(const std::int64_t first, config.whole("max_window_layers"));
    for (std::int64_t i = 0; i < std::min(first, layers); ++i) windows[static_cast<std::size_t>(i)] = 0;
  }
  return windows;
}

}  // namespace

Result<Activation> read_activation(const wire::Fields& config, std::string_view field) {
  NARROW_TRY(const std::string name, config.text(field));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  return unsupported(fmt::format("{}.{}: the activation '{}' is not known here", config.where(), field, name));
}

Result<Rope> read_rope(const wire::Fields& config, const std::optional<wire::Fields>& parameters, std::int64_t dims, double theta) {
  Rope rope;
  rope.dims = dims;
  rope.theta = theta;
  if (dims < 2 || dims % 2 != 0) return corrupt(fmt::format("{}: {} rotated numbers a head, expected an even number from 2 on", config.where(), dims));
  if (parameters) {
    NARROW_TRY(rope.theta, parameters->number_or("rope_theta", theta));
  }
  if (!(rope.theta > 0)) return corrupt(fmt::format("{}: rope_theta is {}, expected a positive number", config.where(), rope.theta));
  if (!parameters) return rope;
  NARROW_TRY(const std::string old_name, parameters->text_or("type", "default"));
  NARROW_TRY(const std::string kind, parameters->text_or("rope_type", old_name));
  if (kind == "default" || kind == "dynamic") return rope;  // dynamic changes angles beyond the trained context only
  NARROW_TRY(const std::int64_t positions, config.whole("max_position_embeddings"));
  NARROW_TRY(const std::int64_t outer, config.whole_or("original_max_position_embeddings", positions));
  NARROW_TRY(rope.original_positions, parameters->whole_or("original_max_position_embeddings", outer));
  if (rope.original_positions < 2) return corrupt(fmt::format("{}: original_max_position_embeddings is {}", parameters->where(), rope.original_positions));
  const double ratio = static_cast<double>(positions) / static_cast<double>(rope.original_positions);
  NARROW_TRY(rope.factor, parameters->number_or("factor", ratio));
  if (!(rope.factor > 0)) return corrupt(fmt::format("{}: factor is {}, expected a positive number", parameters->where(), rope.factor));
  if (kind == "linear") {
    rope.scaling = Rope::Scaling::kLinear;
  } else if (kind == "llama3") {
    rope.scaling = Rope::Scaling::kLlama3;
    NARROW_TRY(rope.low_frequency, parameters->number("low_freq_factor"));
    NARROW_TRY(rope.high_frequency, parameters->number("high_freq_factor"));
    if (!(rope.low_frequency > 0) || !(rope.high_frequency > rope.low_frequency)) return corrupt(fmt::format("{}: low_freq_factor and high_freq_factor must rise", parameters->where()));
  } else if (kind == "yarn") {
    rope.scaling = Rope::Scaling::kYarn;
    NARROW_TRY(rope.beta_fast, parameters->number_or("beta_fast", 32));
    NARROW_TRY(rope.beta_slow, parameters->number_or("beta_slow", 1));
    const auto scale = [&](double m) { return rope.factor <= 1 ? 1.0 : 0.1 * m * std::log(rope.factor) + 1; };
    NARROW_TRY(const double mscale, parameters->number_or("mscale", 0));
    NARROW_TRY(const double mscale_all, parameters->number_or("mscale_all_dim", 0));
    const double usual = mscale != 0 && mscale_all != 0 ? scale(mscale) / scale(mscale_all) : scale(1);
    NARROW_TRY(rope.attention_factor, parameters->number_or("attention_factor", usual));
  } else if (kind == "longrope" || kind == "su") {
    rope.scaling = Rope::Scaling::kLongRope;
    NARROW_TRY(rope.short_factors, read_factors(*parameters, "short_factor", dims));
    NARROW_TRY(rope.long_factors, read_factors(*parameters, "long_factor", dims));
    const double usual = rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_positions)));
    NARROW_TRY(rope.attention_factor, parameters->number_or("attention_factor", usual));
  } else {
    return unsupported(fmt::format("{}: rotary scaling '{}' is not known here, known are default, linear, llama3, yarn, longrope", parameters->where(), kind));
  }
  return rope;
}

Result<Spec> read_common(const wire::Fields& config) {
  Spec spec;
  NARROW_TRY(spec.vocabulary, size_of(config, "vocab_size"));
  NARROW_TRY(spec.hidden, size_of(config, "hidden_size"));
  NARROW_TRY(spec.layers, size_of(config, "num_hidden_layers", kMostLayers));
  NARROW_TRY(spec.heads, size_of(config, "num_attention_heads"));
  NARROW_TRY(spec.key_heads, config.whole_or("num_key_value_heads", spec.heads));
  NARROW_TRY(spec.intermediate, size_of(config, "intermediate_size"));
  NARROW_TRY(spec.max_positions, size_of(config, "max_position_embeddings"));
  if (spec.key_heads < 1 || spec.heads % spec.key_heads != 0) return corrupt(fmt::format("{}: {} query heads cannot share {} key heads", config.where(), spec.heads, spec.key_heads));
  NARROW_TRY(spec.head_size, config.whole_or("head_dim", spec.hidden / spec.heads));
  if (spec.head_size < 1 || spec.head_size > kMostSize / spec.heads) return corrupt(fmt::format("{}: heads of {} numbers", config.where(), spec.head_size));
  NARROW_TRY(spec.norm_epsilon, config.number_or("rms_norm_eps", 1e-6));
  NARROW_TRY(spec.tied_head, config.flag_or("tie_word_embeddings", false));
  if (config.has("hidden_act")) {
    NARROW_TRY(spec.activation, read_activation(config, "hidden_act"));
  }
  NARROW_TRY(spec.windows, read_windows(config, spec.layers));

  std::optional<wire::Fields> parameters = config.find("rope_parameters");
  if (!parameters) parameters = config.find("rope_scaling");
  if (parameters && !parameters->value_is_object()) return parameters->wrong("an object");
  if (parameters && parameters->has("full_attention")) {
    const std::optional<wire::Fields> local = parameters->find("sliding_attention");
    if (local) {
      NARROW_TRY(spec.local_rope, read_rope(config, local, spec.head_size, 10000));
      spec.has_local_rope = true;
    }
    parameters = parameters->find("full_attention");
  }
  NARROW_TRY(const double theta, config.number_or("rope_theta", 10000));
  NARROW_TRY(const double outer, config.number_or("partial_rotary_factor", 1));
  double part = outer;
  if (parameters) {
    NARROW_TRY(part, parameters->number_or("partial_rotary_factor", outer));
  }
  if (!(part > 0) || part > 1) return corrupt(fmt::format("{}: partial_rotary_factor is {}, expected 0 to 1", config.where(), part));
  NARROW_TRY(spec.rope, read_rope(config, parameters, static_cast<std::int64_t>(static_cast<double>(spec.head_size) * part), theta));

  Names& names = spec.names;
  names.embedding = "model.embed_tokens";
  names.final_norm = "model.norm";
  names.head = "lm_head";
  const std::string layer = "model.layers.{}.";
  names.attention_norm = layer + "input_layernorm";
  names.mlp_norm = layer + "post_attention_layernorm";
  names.q = layer + "self_attn.q_proj";
  names.k = layer + "self_attn.k_proj";
  names.v = layer + "self_attn.v_proj";
  names.o = layer + "self_attn.o_proj";
  names.gate = layer + "mlp.gate_proj";
  names.up = layer + "mlp.up_proj";
  names.down = layer + "mlp.down_proj";
  return spec;
}

}  // namespace narrow::language
