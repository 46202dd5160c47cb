// Mixtral: Mistral with a mixture of experts in every layer (Jiang et al. 2024, arXiv:2401.04088).
#include <fmt/format.h>

#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_mixtral(const wire::Fields& config) {
  NARROW_TRY(Spec spec, read_common(config));
  NARROW_TRY(spec.experts.count, config.whole("num_local_experts"));
  NARROW_TRY(spec.experts.chosen, config.whole("num_experts_per_tok"));
  if (spec.experts.count < 1 || spec.experts.count > 4096 || spec.experts.chosen < 1 || spec.experts.chosen > spec.experts.count) {
    return corrupt(fmt::format("{}: {} of {} experts", config.where(), spec.experts.chosen, spec.experts.count));
  }
  const std::string moe = "model.layers.{}.block_sparse_moe.";
  spec.names.router = moe + "gate";
  spec.names.expert_gate = moe + "experts.{}.w1";
  spec.names.expert_up = moe + "experts.{}.w3";
  spec.names.expert_down = moe + "experts.{}.w2";
  return spec;
}

}  // namespace narrow::language
