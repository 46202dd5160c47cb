#include "language/gguf/mixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "base/text.h"

namespace narrow::language {
namespace {

using encodings::GgmlType;

constexpr GgufMixture kMixtures[] = {
    {"F32", 0, GgmlType::kF32},     {"F16", 1, GgmlType::kF16},     {"BF16", 32, GgmlType::kBF16},  {"Q4_0", 2, GgmlType::kQ4_0},   {"Q4_1", 3, GgmlType::kQ4_1},
    {"Q5_0", 8, GgmlType::kQ5_0},   {"Q5_1", 9, GgmlType::kQ5_1},   {"Q8_0", 7, GgmlType::kQ8_0},   {"Q4_K_S", 14, GgmlType::kQ4K}, {"Q4_K_M", 15, GgmlType::kQ4K},
    {"Q5_K_S", 16, GgmlType::kQ5K}, {"Q5_K_M", 17, GgmlType::kQ5K}, {"Q6_K", 18, GgmlType::kQ6K},
};

// The first and last eighth of the layers, and every third between.
bool gets_more(std::int64_t layer, std::int64_t layers) { return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2; }

GgmlType with_whole_blocks(GgmlType type, std::int64_t row) {
  const auto fits = [&](GgmlType t) { return row % encodings::ggml_blocks(t).elements == 0; };
  if (fits(type)) return type;
  const GgmlType smaller = type == GgmlType::kQ4K ? GgmlType::kQ5_0 : type == GgmlType::kQ5K ? GgmlType::kQ5_1 : type == GgmlType::kQ6K ? GgmlType::kQ8_0 : GgmlType::kF16;
  return fits(smaller) ? smaller : GgmlType::kF16;
}

GgmlType wanted_type(const GgufMixture& mixture, const Spec& spec, const GgufName& name, const Shape& shape, bool importance) {
  const GgmlType base = mixture.base;
  const bool medium4 = mixture.name == "Q4_K_M", small4 = mixture.name == "Q4_K_S", medium5 = mixture.name == "Q5_K_M";
  const std::int64_t layer = name.layer, layers = spec.layers;
  const bool eight_experts = spec.experts.count == 8;
  switch (name.part) {
    case GgufPart::kEmbedding:
      if (!spec.tied_head) return base;
      [[fallthrough]];  // it is the output as well
    case GgufPart::kOutput:
      if (base == GgmlType::kQ8_0 || shape.back() % encodings::ggml_blocks(base).elements != 0) return GgmlType::kQ8_0;
      return GgmlType::kQ6K;
    case GgufPart::kKey: return eight_experts ? GgmlType::kQ8_0 : base;
    case GgufPart::kValue: {
      if (eight_experts) return GgmlType::kQ8_0;
      if ((medium4 || medium5) && gets_more(layer, layers)) return GgmlType::kQ6K;
      const bool shared_by_many = layers == 80 && spec.heads != spec.key_heads;  // Llama 70B: a small tensor
      if ((small4 && layer < 4) || (base == GgmlType::kQ4K && shared_by_many)) return GgmlType::kQ5K;
      return base;
    }
    case GgufPart::kQkv: return medium4 ? GgmlType::kQ5K : medium5 ? GgmlType::kQ6K : base;
    case GgufPart::kAttentionOutput: return eight_experts && (medium4 || small4) ? GgmlType::kQ5K : base;
    case GgufPart::kDown:
      if ((medium4 || medium5) && gets_more(layer, layers)) return GgmlType::kQ6K;
      if (small4 && layer < layers / 8) return GgmlType::kQ5K;
      if (importance && layer < layers / 8 && base == GgmlType::kQ4_0) return GgmlType::kQ4_1;
      if (importance && layer < layers / 8 && base == GgmlType::kQ5_0) return GgmlType::kQ5_1;
      return base;
    default: return base;
  }
}

}  // namespace

Result<const GgufMixture*> find_gguf_mixture(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (upper == "Q4_K" || upper == "Q5_K") upper += "_M";
  std::vector<std::string> known;
  std::vector<std::string_view> views;
  for (const GgufMixture& mixture : kMixtures) {
    if (mixture.name == upper) return &mixture;
    known.emplace_back(mixture.name);
    views.push_back(mixture.name);
  }
  return invalid_argument(fmt::format("there is no GGUF type '{}'; there are {}{}", name, base::join(known, ", "), base::did_you_mean(upper, views)));
}

GgmlType gguf_tensor_type(const GgufMixture& mixture, const Spec& spec, const GgufName& name, const Shape& shape, bool importance) {
  if (shape.size() < 2 || name.part == GgufPart::kNorm || name.part == GgufPart::kRouter || name.part == GgufPart::kPositions) return GgmlType::kF32;
  if (encodings::ggml_blocks(mixture.base).elements == 1) return mixture.base;
  return with_whole_blocks(wanted_type(mixture, spec, name, shape, importance), shape.back());
}

}  // namespace narrow::language
