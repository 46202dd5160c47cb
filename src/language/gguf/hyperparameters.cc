#include "language/gguf/hyperparameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "language/gguf/tensor_names.h"

namespace narrow::language {
namespace {

using nlohmann::ordered_json;
using wire::GgufMetadata;
using wire::GgufValue;

GgufValue u32(std::int64_t v) { return GgufValue::u32(static_cast<std::uint32_t>(v)); }
GgufValue f32(double v) { return GgufValue::f32(static_cast<float>(v)); }

// Keys of one architecture.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix) + ".") {}

  bool has(std::string_view key) const { return metadata_.has(prefix_ + std::string(key)); }
  Result<std::int64_t> whole(std::string_view key) const { return metadata_.whole(prefix_ + std::string(key)); }
  Result<std::int64_t> whole_or(std::string_view key, std::int64_t otherwise) const { return metadata_.whole_or(prefix_ + std::string(key), otherwise); }
  Result<double> real_or(std::string_view key, double otherwise) const { return metadata_.real_or(prefix_ + std::string(key), otherwise); }
  Result<std::string> text_or(std::string_view key, std::string otherwise) const { return metadata_.text_or(prefix_ + std::string(key), std::move(otherwise)); }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
};

struct ReadFamily {
  std::string_view architecture, model_type, class_name, activation;
};
constexpr ReadFamily kReadFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM", "silu"},          {"qwen2", "qwen2", "Qwen2ForCausalLM", "silu"},         {"qwen3", "qwen3", "Qwen3ForCausalLM", "silu"},
    {"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM", "silu"}, {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", "silu"}, {"gemma", "gemma", "GemmaForCausalLM", "gelu_pytorch_tanh"},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", "gelu_pytorch_tanh"}, {"gemma3", "gemma3_text", "Gemma3ForCausalLM", "gelu_pytorch_tanh"}, {"phi3", "phi3", "Phi3ForCausalLM", "silu"},
    {"olmo", "olmo", "OlmoForCausalLM", "silu"},              {"olmo2", "olmo2", "Olmo2ForCausalLM", "silu"},
};

Result<std::vector<double>> factors_of(const formats::gguf::File& file, std::string_view name) {
  std::vector<double> factors;
  if (file.find(name) == nullptr) return factors;
  NARROW_TRY(const Tensor tensor, file.tensor(name));
  for (const float v : tensor.to_float()) factors.push_back(v);
  return factors;
}

Status read_rope(const formats::gguf::File& file, const Keys& keys, std::int64_t positions, ordered_json& config) {
  NARROW_TRY(const std::string type, keys.text_or("rope.scaling.type", "none"));
  NARROW_TRY(const double old_scale, keys.real_or("rope.scale_linear", 1));
  NARROW_TRY(const double factor, keys.real_or("rope.scaling.factor", old_scale));
  NARROW_TRY(const std::int64_t original, keys.whole_or("rope.scaling.original_context_length", positions));
  NARROW_TRY(auto slower, factors_of(file, "rope_freqs.weight"));
  NARROW_TRY(const auto longer, factors_of(file, "rope_factors_long.weight"));
  NARROW_TRY(const auto shorter, factors_of(file, "rope_factors_short.weight"));
  ordered_json scaling;
  if (!longer.empty() && longer.size() == shorter.size()) {
    NARROW_TRY(const double attention, keys.real_or("rope.scaling.attn_factor", 1));
    scaling = {{"rope_type", "longrope"}, {"short_factor", shorter}, {"long_factor", longer}, {"attention_factor", attention}, {"original_max_position_embeddings", original}};
  } else if (!slower.empty()) {
    // The same factors whatever the length; how the model's maker came by them the file does not say.
    scaling = {{"rope_type", "longrope"}, {"short_factor", slower}, {"long_factor", slower}, {"attention_factor", 1.0}, {"factor", 1.0}, {"original_max_position_embeddings", original}};
  } else if (type == "linear" || (type == "none" && factor != 1)) {
    scaling = {{"rope_type", "linear"}, {"factor", factor}};
  } else if (type == "yarn") {
    scaling = {{"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", original}};
    NARROW_TRY(scaling["beta_fast"], keys.real_or("rope.scaling.yarn_beta_fast", 32));
    NARROW_TRY(scaling["beta_slow"], keys.real_or("rope.scaling.yarn_beta_slow", 1));
  } else if (type != "none") {
    return unsupported(fmt::format("{}: rotary scaling '{}' without its factors", file.metadata().where, type));
  }
  if (!scaling.is_null()) config["rope_scaling"] = std::move(scaling);
  return {};
}

}  // namespace

Status set_gguf_hyperparameters(const Spec& spec, GgufMetadata& m) {
  NARROW_TRY(const GgufFamily* family, gguf_family(spec.family));
  const std::string arch(family->architecture);
  const auto set = [&](std::string_view key, GgufValue value) { m.set(fmt::format("{}.{}", arch, key), std::move(value)); };
  m.set("general.architecture", GgufValue::text(arch));
  set("block_count", u32(spec.layers));
  set("context_length", u32(spec.max_positions));
  set("embedding_length", u32(spec.hidden));
  set("feed_forward_length", u32(spec.intermediate));
  set("attention.head_count", u32(spec.heads));
  set("attention.head_count_kv", u32(spec.key_heads));
  set(spec.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", f32(spec.norm_epsilon));
  if (spec.head_size * spec.heads != spec.hidden || arch.starts_with("gemma") || arch.starts_with("qwen3")) {
    set("attention.key_length", u32(spec.head_size));
    set("attention.value_length", u32(spec.head_size));
  }
  set("vocab_size", u32(spec.vocabulary));
  set("rope.dimension_count", u32(spec.rope.dims));
  set("rope.freq_base", f32(spec.rope.theta));
  if (spec.rope.scaling == Rope::Scaling::kLinear || spec.rope.scaling == Rope::Scaling::kYarn) {
    set("rope.scaling.type", GgufValue::text(spec.rope.scaling == Rope::Scaling::kLinear ? "linear" : "yarn"));
    set("rope.scaling.factor", f32(spec.rope.factor));
  }
  if (spec.rope.scaling == Rope::Scaling::kYarn) {
    set("rope.scaling.original_context_length", u32(spec.rope.original_positions));
    set("rope.scaling.yarn_beta_fast", f32(spec.rope.beta_fast));
    set("rope.scaling.yarn_beta_slow", f32(spec.rope.beta_slow));
  }
  if (spec.rope.scaling == Rope::Scaling::kLongRope) {
    set("rope.scaling.original_context_length", u32(spec.rope.original_positions));
    set("rope.scaling.attn_factor", f32(spec.rope.attention_factor));
  }
  const auto window = std::max_element(spec.windows.begin(), spec.windows.end());
  if (window != spec.windows.end() && *window > 0) set("attention.sliding_window", u32(*window));
  if (spec.attention_softcap > 0) set("attn_logit_softcapping", f32(spec.attention_softcap));
  if (spec.logit_softcap > 0) set("final_logit_softcapping", f32(spec.logit_softcap));
  if (spec.clip_qkv > 0) set("attention.clamp_kqv", f32(spec.clip_qkv));
  if (spec.experts.count > 0) {
    set("expert_count", u32(spec.experts.count));
    set("expert_used_count", u32(spec.experts.chosen));
  }
  return {};
}

std::vector<GgufFactors> gguf_rope_factors(const Spec& spec) {
  const auto as_floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  if (spec.rope.scaling == Rope::Scaling::kLongRope) {
    return {{"rope_factors_long.weight", as_floats(spec.rope.long_factors)}, {"rope_factors_short.weight", as_floats(spec.rope.short_factors)}};
  }
  if (spec.rope.scaling != Rope::Scaling::kLlama3) return {};
  std::vector<double> factors = rope_frequencies(spec.rope, spec.max_positions);
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = std::pow(spec.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(spec.rope.dims)) / factors[i];
  return {{"rope_freqs.weight", as_floats(factors)}};
}

Result<std::string> config_of_gguf(const formats::gguf::File& file) {
  const GgufMetadata& m = file.metadata();
  NARROW_TRY(const std::string arch, m.text("general.architecture"));
  const auto* family = std::find_if(std::begin(kReadFamilies), std::end(kReadFamilies), [&](const ReadFamily& f) { return f.architecture == arch; });
  if (family == std::end(kReadFamilies)) return unsupported(fmt::format("{}: models of the architecture '{}' are not read from GGUF", m.where, arch)).hint("Start from the Hugging Face checkpoint of the same model.");
  const Keys keys(m, arch);
  NARROW_TRY(const std::int64_t hidden, keys.whole("embedding_length"));
  NARROW_TRY(const std::int64_t heads, keys.whole("attention.head_count"));
  NARROW_TRY(const std::int64_t positions, keys.whole("context_length"));
  NARROW_TRY(const std::int64_t head_size, keys.whole_or("attention.key_length", heads > 0 ? hidden / heads : 0));
  NARROW_TRY(const std::int64_t rotated, keys.whole_or("rope.dimension_count", head_size));
  NARROW_TRY(const std::int64_t experts, keys.whole_or("expert_count", 0));
  const formats::gguf::TensorEntry* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) return corrupt(fmt::format("{}: there is no matrix 'token_embd.weight'", m.where));
  const bool mixtral = arch == "llama" && experts > 0;

  ordered_json c = {{"architectures", {mixtral ? "MixtralForCausalLM" : family->class_name}}, {"model_type", mixtral ? "mixtral" : family->model_type}};
  c["vocab_size"] = embedding->shape[0];
  c["hidden_size"] = hidden;
  NARROW_TRY(c["intermediate_size"], keys.whole("feed_forward_length"));
  NARROW_TRY(c["num_hidden_layers"], keys.whole("block_count"));
  c["num_attention_heads"] = heads;
  NARROW_TRY(c["num_key_value_heads"], keys.whole_or("attention.head_count_kv", heads));
  c["head_dim"] = head_size;
  c["max_position_embeddings"] = positions;
  NARROW_TRY(c["rms_norm_eps"], keys.real_or("attention.layer_norm_rms_epsilon", 1e-5));
  NARROW_TRY(c["rope_theta"], keys.real_or("rope.freq_base", 10000));
  if (rotated != head_size && head_size > 0) c["partial_rotary_factor"] = static_cast<double>(rotated) / static_cast<double>(head_size);
  c["hidden_act"] = family->activation;
  c["tie_word_embeddings"] = file.find("output.weight") == nullptr;
  NARROW_RETURN_IF_ERROR(read_rope(file, keys, positions, c));
  NARROW_TRY(const std::int64_t window, keys.whole_or("attention.sliding_window", 0));
  if (window > 0) c["sliding_window"] = window;
  if (keys.has("attn_logit_softcapping")) {
    NARROW_TRY(c["attn_logit_softcapping"], keys.real_or("attn_logit_softcapping", 0));
  }
  if (keys.has("final_logit_softcapping")) {
    NARROW_TRY(c["final_logit_softcapping"], keys.real_or("final_logit_softcapping", 0));
  }
  if (keys.has("attention.clamp_kqv")) {
    NARROW_TRY(c["clip_qkv"], keys.real_or("attention.clamp_kqv", 0));
  }
  if (arch == "gemma2" || arch == "gemma3") {
    // The file does not say it; the largest of either differs from the others.
    const std::int64_t layers = c["num_hidden_layers"].get<std::int64_t>();
    const bool largest = layers == (arch == "gemma2" ? 46 : 62);
    c["query_pre_attn_scalar"] = largest && heads > 0 ? hidden / heads : head_size;
  }
  if (experts > 0) {
    NARROW_TRY(const std::int64_t chosen, keys.whole("expert_used_count"));
    c[mixtral ? "num_local_experts" : "num_experts"] = experts;
    c["num_experts_per_tok"] = chosen;
    c["norm_topk_prob"] = arch != "qwen2moe";
    NARROW_TRY(const std::int64_t expert_size, keys.whole_or("expert_feed_forward_length", c["intermediate_size"].get<std::int64_t>()));
    c["moe_intermediate_size"] = expert_size;
    NARROW_TRY(c["shared_expert_intermediate_size"], keys.whole_or("expert_shared_feed_forward_length", expert_size));
  }
  for (const auto& [key, field] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"}, std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"}}) {
    if (!m.has(key)) continue;
    NARROW_TRY(c[field], m.whole(key));
  }
  return c.dump(1) + "\n";
}

}  // namespace narrow::language
