// What can be done when a quantized model misses its targets, in order of cost: the table that the search walks down.
#pragma once

#include <span>
#include <string_view>

#include "planning/facts.h"
#include "quantizers/recipe.h"
#include "targets/target.h"

namespace narrow::planning {

enum class When {
  kAlways,   // costs seconds: tried before the first verdict, kept where the outputs gain by it
  kOnMiss,   // tried after a verdict that missed
};

struct Remedy {
  std::string_view name;         // "observer-percentile"
  std::string_view summary;
  std::string_view method;       // the method it belongs to
  When when;
  bool (*applies)(const Facts& facts, const targets::Target& target);
  void (*apply)(quantizers::Recipe& recipe);
};

std::span<const Remedy> remedies();

}  // namespace narrow::planning
