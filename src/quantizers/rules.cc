#include "quantizers/rules.h"

#include <fmt/format.h>

#include "base/text.h"

namespace narrow::quantizers {
namespace {

bool matches(const Rule& rule, std::string_view node, std::string_view op_type) {
  return base::glob_match(rule.name_pattern, node) && base::glob_match(rule.op_type, op_type);
}

}  // namespace

std::string excluded_by(const Recipe& recipe, std::string_view node, std::string_view op_type) {
  std::string reason;
  for (const Rule& rule : recipe.rules) {
    if (!rule.quantize || !matches(rule, node, op_type)) continue;
    reason = *rule.quantize ? "" : rule.float_weights ? "in integers it costs the outputs too much" : fmt::format("excluded by the rule for names '{}' and operators '{}'", rule.name_pattern, rule.op_type);
  }
  return reason;
}

std::string float_weights_choice(const Recipe& recipe, std::string_view node, std::string_view op_type) {
  std::string choice = "f32";
  for (const Rule& rule : recipe.rules) {
    if (rule.float_weights && matches(rule, node, op_type)) choice = *rule.float_weights;
  }
  return choice;
}

bool per_channel_choice(const Recipe& recipe, std::string_view node, std::string_view op_type) {
  bool choice = recipe.per_channel;
  for (const Rule& rule : recipe.rules) {
    if (rule.per_channel && matches(rule, node, op_type)) choice = *rule.per_channel;
  }
  return choice;
}

ActivationChoice activation_choice(const Recipe& recipe, const targets::Target& target, std::string_view node,
                                   std::string_view op_type) {
  ActivationChoice choice{recipe.activation_type.value_or(target.activation.storage_type),
                          recipe.symmetric_activations.value_or(target.activation.symmetric), recipe.observer};
  for (const Rule& rule : recipe.rules) {
    if (!matches(rule, node, op_type)) continue;
    if (rule.activation_type) choice.storage_type = *rule.activation_type;
    if (rule.symmetric_activations) choice.symmetric = *rule.symmetric_activations;
    if (rule.observer) choice.observer = *rule.observer;
  }
  return choice;
}

}  // namespace narrow::quantizers
