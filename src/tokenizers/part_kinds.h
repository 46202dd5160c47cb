// Looks up a part by the "type" that the file gives it.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "wire/json.h"
#include "tokenizers/parts.h"
#include "tokenizers/pattern.h"

namespace narrow::tokenizers {

inline Error unknown_kind(const Fields& fields, std::string_view what, std::string_view type, std::span<const std::string_view> known) {
  const std::vector<std::string> names(known.begin(), known.end());
  return unsupported(fmt::format("{}: there is no {} '{}' here yet, known are {}{}", fields.where(), what, type,
                                 base::join(names, ", "), base::did_you_mean(type, known)));
}

// Errors: corrupt when there is no type; unsupported when no row has its name.
template <typename Kind>
Result<const Kind*> find_kind(std::span<const Kind> kinds, const Fields& fields, std::string_view what) {
  NARROW_TRY(const std::string type, fields.text("type"));
  std::vector<std::string_view> names;
  for (const Kind& kind : kinds) {
    if (kind.name == type) return &kind;
    names.push_back(kind.name);
  }
  return unknown_kind(fields, what, type, names);
}

// Field "pattern" of a part: {"String": …} or {"Regex": …}.
inline Result<Pattern> parse_pattern(const Fields& part) {
  NARROW_TRY(const Fields fields, part.object("pattern"));
  if (!fields.has("Regex")) {
    NARROW_TRY(const std::string literal, fields.text("String"));
    return Pattern::literal(literal);
  }
  NARROW_TRY(const std::string pattern, fields.text("Regex"));
  return Pattern::compile(pattern, fields.where());
}

}  // namespace narrow::tokenizers
