#include "language/quantize/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace narrow::language {
namespace {

using Kind = encodings::InputRounding::Kind;

// The table.
constexpr LanguageMethod kMethods[] = {
    {.name = "rounding", .summary = "round to nearest between each group's minimum and maximum; needs no data", .codes = "rounding"},
    {.name = "rounding-mse", .summary = "round to nearest, each group's range the one of least squared error; needs no data", .codes = "rounding"},
    {.name = "blocks", .summary = "the output format's own blocks (GGUF); data, if any, say which inputs matter", .codes = "none"},
    {.name = "hqq", .summary = "half-quadratic: ranges that leave few large errors; needs no data", .codes = "hqq"},
    {.name = "gptq", .summary = "codes chosen column by column, later ones making good for earlier ones' errors", .needs_data = true, .codes = "gptq"},
    {.name = "awq", .summary = "inputs scaled so that channels that matter are rounded finely", .needs_data = true, .smooths = true, .codes = "awq"},
    {.name = "awq-gptq", .summary = "AWQ's scales, then GPTQ's codes", .needs_data = true, .smooths = true, .codes = "gptq"},
    {.name = "smooth-quant", .summary = "SmoothQuant: weights and inputs in 8 bits (W8A8), inputs scaled so that both round well", .needs_data = true, .smooths = true, .rounds_inputs = true, .codes = "rounding"},
    {.name = "nf4", .summary = "4-bit normal float (QLoRA), absmax quantized again; needs no data", .codes = "nf4"},
    {.name = "llm-int8", .summary = "LLM.int8: 8-bit rows, which bitsandbytes multiplies with outlier inputs kept in float; needs no data", .codes = "int8"},
    {.name = "fp4", .summary = "4-bit float of bitsandbytes; needs no data", .codes = "fp4"},
};

Status check(const LinearPlan& plan, std::string_view where) {
  NARROW_TRY([[maybe_unused]] const LanguageMethod* method, find_language_method(plan.method));
  if (plan.bits != 2 && plan.bits != 3 && plan.bits != 4 && plan.bits != 8) return invalid_argument(fmt::format("{}: bits is {}, expected 2, 3, 4 or 8", where, plan.bits));
  if (plan.group_size != 0 && (plan.group_size < 8 || plan.group_size > (1 << 20))) {
    return invalid_argument(fmt::format("{}: group_size is {}, expected 0 (all of a row) or from 8 on", where, plan.group_size));
  }
  if (plan.inputs != Kind::kNone && (plan.bits != 8 || plan.group_size != 0 || !plan.symmetric)) {
    return invalid_argument(fmt::format("{}: inputs are rounded in front of weights of 8 bits, symmetric, one scale an output; found {} bits, groups of {}{}", where, plan.bits, plan.group_size,
                                        plan.symmetric ? "" : ", asymmetric"))
        .hint("Use --method smooth-quant, or --bits 8 --group-size 0 --symmetric.");
  }
  return {};
}

// What follows from the method.
LinearPlan settled(const quantizers::Recipe& recipe, LinearPlan plan) {
  const auto method = find_language_method(plan.method);
  const bool rounds = method.ok() && (*method)->rounds_inputs;
  if (rounds) {
    plan.bits = 8;
    plan.group_size = 0;
    plan.symmetric = true;
  }
  const std::string& wanted = recipe.weights.activations;
  if (wanted == "static") plan.inputs = Kind::kTensor;
  else if (wanted == "dynamic" || (wanted == "auto" && rounds)) plan.inputs = Kind::kToken;
  return plan;
}

LinearPlan defaults(const quantizers::Recipe& recipe) {
  return {true, recipe.method, static_cast<int>(std::min<std::uint64_t>(recipe.weights.bits, 99)), static_cast<std::int64_t>(recipe.weights.group_size), recipe.weights.symmetric};
}

void apply(const quantizers::Rule& rule, LinearPlan& plan) {
  if (rule.quantize) plan.quantize = *rule.quantize;
  if (rule.method) plan.method = *rule.method;
  if (rule.bits) plan.bits = static_cast<int>(std::min<std::uint64_t>(*rule.bits, 99));
  if (rule.group_size) plan.group_size = static_cast<std::int64_t>(*rule.group_size);
  if (rule.symmetric_weights) plan.symmetric = *rule.symmetric_weights;
}

}  // namespace

std::span<const LanguageMethod> language_methods() { return kMethods; }

Result<const LanguageMethod*> find_language_method(std::string_view name) {
  std::vector<std::string_view> names;
  for (const LanguageMethod& method : kMethods) {
    if (method.name == name) return &method;
    names.push_back(method.name);
  }
  return invalid_argument(fmt::format("there is no method '{}' for language models{}", name, base::did_you_mean(name, names))).hint(fmt::format("Methods: {}.", fmt::join(names, ", ")));
}

LinearPlan plan_of(const quantizers::Recipe& recipe, std::string_view linear) {
  LinearPlan plan = defaults(recipe);
  for (const quantizers::Rule& rule : recipe.rules) {
    if (base::glob_match(rule.name_pattern, linear) && base::glob_match(rule.op_type, "Linear")) apply(rule, plan);
  }
  return settled(recipe, std::move(plan));
}

Status check_recipe(const quantizers::Recipe& recipe) {
  NARROW_RETURN_IF_ERROR(check(settled(recipe, defaults(recipe)), "the recipe"));
  for (std::size_t i = 0; i < recipe.rules.size(); ++i) {
    LinearPlan plan = defaults(recipe);
    apply(recipe.rules[i], plan);
    if (!plan.quantize) continue;
    NARROW_RETURN_IF_ERROR(check(settled(recipe, std::move(plan)), fmt::format("rule {} ('{}')", i + 1, recipe.rules[i].name_pattern)));
  }
  return {};
}

encodings::ScaleType scale_type_of(const quantizers::Recipe& recipe) {
  // "auto" is settled before work starts, by what is written.
  if (recipe.weights.scale_type == "f32") return encodings::ScaleType::kF32;
  return recipe.weights.scale_type == "bf16" ? encodings::ScaleType::kBF16 : encodings::ScaleType::kF16;
}

}  // namespace narrow::language
