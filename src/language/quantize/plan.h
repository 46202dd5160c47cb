// What a recipe says of a language model's Linears, and the methods that there are for them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "encodings/grouped_matrix.h"
#include "encodings/input_rounding.h"
#include "narrow/result.h"
#include "quantizers/recipe.h"

namespace narrow::language {

struct LinearPlan {
  bool quantize = true;
  std::string method;
  int bits = 4;
  std::int64_t group_size = 128;  // 0: all of a row
  bool symmetric = false;
  encodings::InputRounding::Kind inputs = encodings::InputRounding::Kind::kNone;
};

// The recipe's defaults, then its rules whose name pattern matches, the last one winning.
LinearPlan plan_of(const quantizers::Recipe& recipe, std::string_view linear);

struct LanguageMethod {
  std::string_view name;          // "gptq"
  std::string_view summary;
  bool needs_data = false;
  bool smooths = false;           // scales inputs as AWQ does, whatever the recipe says
  bool rounds_inputs = false;     // W8A8: rows of 8 bits, symmetric, whatever the recipe says
  std::string_view codes;         // how codes are chosen: a row of matrix_methods(), or "nf4", "fp4"
};
std::span<const LanguageMethod> language_methods();  // the table: plan.cc
// Errors: invalid_argument, naming the nearest.
Result<const LanguageMethod*> find_language_method(std::string_view name);

// Errors: invalid_argument, naming what is out of range or unknown in the recipe or one of its rules.
Status check_recipe(const quantizers::Recipe& recipe);
encodings::ScaleType scale_type_of(const quantizers::Recipe& recipe);

}  // namespace narrow::language
