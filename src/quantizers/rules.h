// What a recipe's rules say about one node.
#pragma once

#include <string>
#include <string_view>

#include "quantizers/recipe.h"
#include "targets/target.h"

namespace narrow::quantizers {

struct ActivationChoice {
  DType storage_type;
  bool symmetric;
  std::string observer;
};

// The reason when a rule excludes the node, else empty.
std::string excluded_by(const Recipe& recipe, std::string_view node, std::string_view op_type);
// "f32", "f16" or "s8": as what the node stores its weights where it stays float.
std::string float_weights_choice(const Recipe& recipe, std::string_view node, std::string_view op_type);
bool per_channel_choice(const Recipe& recipe, std::string_view node, std::string_view op_type);
ActivationChoice activation_choice(const Recipe& recipe, const targets::Target& target, std::string_view node,
                                   std::string_view op_type);

}  // namespace narrow::quantizers
