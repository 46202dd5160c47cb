// Qwen 2, 2.5 and 3, dense and as mixtures of experts (arXiv:2407.10671, arXiv:2505.09388).
#include <fmt/format.h>

#include <algorithm>

#include "language/architectures/architectures.h"

namespace narrow::language {
namespace {

Result<Spec> read_qwen(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  NARROW_TRY(const bool windowed, config.flag_or("use_sliding_window", false));
  if (!windowed) spec.windows.clear();
  return spec;
}

void normalize_heads(Spec& spec) {
  spec.names.q_norm = "model.layers.{}.self_attn.q_norm";
  spec.names.k_norm = "model.layers.{}.self_attn.k_norm";
}

Status read_experts(const wire::Fields& config, Spec& spec) {
  Experts& experts = spec.experts;
  NARROW_TRY(experts.count, config.whole(config.has("num_experts") ? "num_experts" : "num_local_experts"));
  NARROW_TRY(experts.chosen, config.whole("num_experts_per_tok"));
  if (experts.count < 1 || experts.count > 4096 || experts.chosen < 1 || experts.chosen > experts.count) {
    return corrupt(fmt::format("{}: {} of {} experts", config.where(), experts.chosen, experts.count));
  }
  NARROW_TRY(experts.normalize, config.flag_or("norm_topk_prob", false));
  NARROW_TRY(const std::int64_t step, config.whole_or("decoder_sparse_step", 1));
  spec.sparse_layers.assign(static_cast<std::size_t>(spec.layers), true);
  for (std::int64_t i = 0; i < spec.layers; ++i) spec.sparse_layers[static_cast<std::size_t>(i)] = step > 0 && (i + 1) % step == 0;
  if (config.has("mlp_only_layers")) {
    NARROW_TRY(const std::vector<wire::Fields> dense, config.list("mlp_only_layers"));
    for (const wire::Fields& item : dense) {
      NARROW_TRY(const std::int64_t layer, item.as_whole());
      if (layer < spec.layers) spec.sparse_layers[static_cast<std::size_t>(layer)] = false;
    }
  }
  const std::string mlp = "model.layers.{}.mlp.";
  spec.names.router = mlp + "gate";
  spec.names.expert_gate = mlp + "experts.{}.gate_proj";
  spec.names.expert_up = mlp + "experts.{}.up_proj";
  spec.names.expert_down = mlp + "experts.{}.down_proj";
  return {};
}

}  // namespace

Result<Spec> read_qwen2(const wire::Fields& config) { return read_qwen(config); }

Result<Spec> read_qwen3(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_qwen(config));
  normalize_heads(spec);
  return spec;
}

Result<Spec> read_qwen2_moe(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_qwen(config));
  NARROW_RETURN_IF_ERROR(read_experts(config, spec));
  spec.experts.shared = true;
  const std::string mlp = "model.layers.{}.mlp.";
  spec.names.shared_router = mlp + "shared_expert_gate";
  spec.names.shared_gate = mlp + "shared_expert.gate_proj";
  spec.names.shared_up = mlp + "shared_expert.up_proj";
  spec.names.shared_down = mlp + "shared_expert.down_proj";
  return spec;
}

Result<Spec> read_qwen3_moe(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_qwen(config));
  normalize_heads(spec);
  NARROW_RETURN_IF_ERROR(read_experts(config, spec));
  return spec;
}

}  // namespace narrow::language
