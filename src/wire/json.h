// Checked access to the JSON of a file from outside: every error names the file and the path of the field in it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "narrow/result.h"

namespace narrow::wire {

// A JSON value and where it stands ("tokenizer.json: model.vocab"). Refers to the parsed document, which must outlive it.
class Fields {
 public:
  Fields(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& where() const { return where_; }

  bool is_null() const;
  bool value_is_object() const;
  bool has(std::string_view name) const;                // present and not null
  std::optional<Fields> find(std::string_view name) const;  // nothing when absent or null

  // Errors: corrupt when the field is missing, null or of another type.
  Result<Fields> object(std::string_view name) const;
  Result<std::vector<Fields>> list(std::string_view name) const;
  Result<std::string> text(std::string_view name) const;
  Result<bool> flag(std::string_view name) const;
  Result<std::int64_t> whole(std::string_view name) const;  // 0 .. 2^31 - 1
  Result<double> number(std::string_view name) const;       // finite

  // As above, `otherwise` when absent or null.
  Result<std::string> text_or(std::string_view name, std::string otherwise) const;
  Result<bool> flag_or(std::string_view name, bool otherwise) const;
  Result<std::int64_t> whole_or(std::string_view name, std::int64_t otherwise) const;
  Result<double> number_or(std::string_view name, double otherwise) const;

  // The value itself as such a number.
  Result<std::int64_t> as_whole() const;
  Result<double> as_number() const;
  Result<std::string> as_text() const;

  Error wrong(std::string_view expected) const;  // "…: expected a string, found a number"

 private:
  Result<Fields> need(std::string_view name) const;

  const nlohmann::json* value_;
  std::string where_;
};

// Errors: corrupt, with the position; nesting is capped. `where` names the file.
Result<nlohmann::json> parse_json(std::string_view text, const std::string& where);

}  // namespace narrow::wire
