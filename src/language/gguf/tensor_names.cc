#include "language/gguf/tensor_names.h"

#include <fmt/format.h>

#include "base/text.h"

namespace narrow::language {
namespace {

constexpr GgufFamily kFamilies[] = {
    {"llama", "llama", true},          {"mistral", "llama", true},     {"mixtral", "llama", true},      {"qwen2", "qwen2", false},
    {"qwen3", "qwen3", false},         {"qwen2_moe", "qwen2moe", false}, {"qwen3_moe", "qwen3moe", false}, {"gemma", "gemma", false},
    {"gemma2", "gemma2", false},       {"gemma3_text", "gemma3", false}, {"phi3", "phi3", false},          {"olmo", "olmo", true},
    {"olmo2", "olmo2", false},
};

}  // namespace

Result<const GgufFamily*> gguf_family(std::string_view model_type) {
  std::vector<std::string> known;
  for (const GgufFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
    known.emplace_back(family.model_type);
  }
  return unsupported(fmt::format("models of the family '{}' are not written as GGUF; those that are: {}", model_type, base::join(known, ", ")))
      .hint("Export a Hugging Face folder instead and convert it with llama.cpp's convert_hf_to_gguf.py.");
}

Result<std::vector<GgufName>> gguf_names(const Spec& spec) {
  NARROW_TRY(const GgufFamily* family, gguf_family(spec.family));
  const std::int64_t head = family->interleaved ? spec.head_size : 0;
  std::vector<GgufName> names;
  const auto add = [&](std::string name, const std::string& pattern, GgufPart part, std::int64_t layer, std::int64_t rows_a_head = 0, std::int64_t experts = 0) {
    if (pattern.empty()) return;
    names.push_back({std::move(name), layer_name(pattern, layer), part, layer, rows_a_head, experts, part == GgufPart::kNorm && spec.norm_plus_one});
  };
  const Names& n = spec.names;
  add("token_embd", n.embedding, GgufPart::kEmbedding, -1);
  add("position_embd", n.positions, GgufPart::kPositions, -1);
  if (!spec.tied_head) add("output", n.head, GgufPart::kOutput, -1);
  if (spec.norm_has_weight) add("output_norm", n.final_norm, GgufPart::kNorm, -1);
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    if (spec.norm_has_weight) {
      add(block + "attn_norm", n.attention_norm, GgufPart::kNorm, layer);
      add(block + "post_attention_norm", n.post_attention_norm, GgufPart::kNorm, layer);
      add(block + "ffn_norm", n.mlp_norm, GgufPart::kNorm, layer);
      add(block + "post_ffw_norm", n.post_mlp_norm, GgufPart::kNorm, layer);
      add(block + "attn_q_norm", n.q_norm, GgufPart::kNorm, layer);
      add(block + "attn_k_norm", n.k_norm, GgufPart::kNorm, layer);
    }
    add(block + "attn_q", n.q, GgufPart::kOther, layer, head);
    add(block + "attn_k", n.k, GgufPart::kKey, layer, head);
    add(block + "attn_v", n.v, GgufPart::kValue, layer);
    add(block + "attn_qkv", n.qkv, GgufPart::kQkv, layer);
    add(block + "attn_output", n.o, GgufPart::kAttentionOutput, layer);
    if (!spec.sparse(layer)) {
      add(block + "ffn_gate", n.gate, GgufPart::kOther, layer);
      add(block + "ffn_up", n.up.empty() ? n.gate_up : n.up, GgufPart::kOther, layer);
      add(block + "ffn_down", n.down, GgufPart::kDown, layer);
      continue;
    }
    add(block + "ffn_gate_inp", n.router, GgufPart::kRouter, layer);
    add(block + "ffn_gate_exps", n.expert_gate, GgufPart::kOther, layer, 0, spec.experts.count);
    add(block + "ffn_up_exps", n.expert_up, GgufPart::kOther, layer, 0, spec.experts.count);
    add(block + "ffn_down_exps", n.expert_down, GgufPart::kDown, layer, 0, spec.experts.count);
    if (!spec.experts.shared) continue;
    add(block + "ffn_gate_inp_shexp", n.shared_router, GgufPart::kRouter, layer);
    names.back().one_row = true;
    add(block + "ffn_gate_shexp", n.shared_gate, GgufPart::kOther, layer);
    add(block + "ffn_up_shexp", n.shared_up, GgufPart::kOther, layer);
    add(block + "ffn_down_shexp", n.shared_down, GgufPart::kDown, layer);
  }
  return names;
}

}  // namespace narrow::language
