#include "language/architectures/architectures.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/text.h"

namespace narrow::language {
namespace {

// The table.
constexpr Architecture kArchitectures[] = {
    {"llama", read_llama},
    {"mistral", read_llama},
    {"qwen2", read_qwen2},
    {"qwen3", read_qwen3},
    {"qwen2_moe", read_qwen2_moe},
    {"qwen3_moe", read_qwen3_moe},
    {"mixtral", read_mixtral},
    {"phi3", read_phi3},
    {"gemma", read_gemma},
    {"gemma2", read_gemma2},
    {"gemma3_text", read_gemma3},
    {"olmo", read_olmo},
    {"olmo2", read_olmo2},
    {"gpt2", read_gpt2},
    {"gpt_neox", read_gpt_neox},
    {"bert", read_bert},
    {"roberta", read_roberta},
    {"xlm-roberta", read_roberta},
    {"distilbert", read_distilbert},
    {"mpnet", read_mpnet},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

Error unknown_architecture(const std::string& where, const std::string& type) {
  std::vector<std::string_view> known;
  for (const Architecture& row : kArchitectures) known.push_back(row.model_type);
  const std::vector<std::string> names(known.begin(), known.end());
  return unsupported(fmt::format("{}: there is no architecture '{}' here yet, known are {}{}", where, type, base::join(names, ", "), base::did_you_mean(type, known)))
      .hint("It cannot be run, but its weights can be rounded by their names: narrow quantize DIR -o OUT --method rounding-mse.");
}

Result<Spec> read_spec(const wire::Fields& config) {
  NARROW_TRY(const std::string type, config.text("model_type"));
  for (const Architecture& row : kArchitectures) {
    if (row.model_type != type) continue;
    NARROW_TRY(Spec spec, row.read(config));
    spec.family = type;
    return spec;
  }
  return unknown_architecture(config.where(), type);
}

}  // namespace narrow::language
