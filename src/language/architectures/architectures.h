// The families of decoders and encoders that narrow builds graphs of: one row a `model_type`, one file a family.
#pragma once

#include <span>
#include <string_view>

#include "language/spec.h"
#include "wire/json.h"

namespace narrow::language {

struct Architecture {
  std::string_view model_type;
  Result<Spec> (*read)(const wire::Fields& config) = nullptr;
};

std::span<const Architecture> architectures();  // the table: architectures.cc

// Errors: unsupported when no row has the config's model_type (naming those that there are); corrupt, naming the field.
Result<Spec> read_spec(const wire::Fields& config);

// The error of read_spec for a family without a row.
Error unknown_architecture(const std::string& where, const std::string& type);

// What most families share: sizes, epsilon, rotary embedding, tied head, activation, windows, and Llama's names.
Result<Spec> read_common(const wire::Fields& config);
// The angles that `parameters` (config.json's rope_scaling or rope_parameters) ask for. Errors: unsupported (a kind of scaling).
Result<Rope> read_rope(const wire::Fields& config, const std::optional<wire::Fields>& parameters, std::int64_t dims, double theta);
Result<Activation> read_activation(const wire::Fields& config, std::string_view field);

Result<Spec> read_llama(const wire::Fields& config);
Result<Spec> read_qwen2(const wire::Fields& config);
Result<Spec> read_qwen3(const wire::Fields& config);
Result<Spec> read_qwen2_moe(const wire::Fields& config);
Result<Spec> read_qwen3_moe(const wire::Fields& config);
Result<Spec> read_mixtral(const wire::Fields& config);
Result<Spec> read_phi3(const wire::Fields& config);
Result<Spec> read_gemma(const wire::Fields& config);
Result<Spec> read_gemma2(const wire::Fields& config);
Result<Spec> read_gemma3(const wire::Fields& config);
Result<Spec> read_olmo(const wire::Fields& config);
Result<Spec> read_olmo2(const wire::Fields& config);
Result<Spec> read_gpt2(const wire::Fields& config);
Result<Spec> read_gpt_neox(const wire::Fields& config);
Result<Spec> read_bert(const wire::Fields& config);
Result<Spec> read_roberta(const wire::Fields& config);
Result<Spec> read_distilbert(const wire::Fields& config);
Result<Spec> read_mpnet(const wire::Fields& config);

}  // namespace narrow::language
