#include "wire/json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace narrow::wire {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 64;

}  // namespace

bool Fields::is_null() const { return value_->is_null(); }
bool Fields::value_is_object() const { return value_->is_object(); }
bool Fields::has(std::string_view name) const { return find(name).has_value(); }

std::optional<Fields> Fields::find(std::string_view name) const {
  if (!value_->is_object()) return std::nullopt;
  const auto at = value_->find(std::string(name));
  if (at == value_->end() || at->is_null()) return std::nullopt;
  return Fields(*at, fmt::format("{}.{}", where_, name));
}

Error Fields::wrong(std::string_view expected) const {
  return corrupt(fmt::format("{}: expected {}, found {}", where_, expected, value_->type_name()));
}

Result<Fields> Fields::need(std::string_view name) const {
  if (!value_->is_object()) return wrong("an object");
  const auto found = find(name);
  if (!found) return corrupt(fmt::format("{}: no field '{}'", where_, name));
  return *found;
}

Result<Fields> Fields::object(std::string_view name) const {
  NARROW_TRY(Fields field, need(name));
  if (!field.value_->is_object()) return field.wrong("an object");
  return field;
}

Result<std::vector<Fields>> Fields::list(std::string_view name) const {
  NARROW_TRY(const Fields field, need(name));
  if (!field.value_->is_array()) return field.wrong("a list");
  std::vector<Fields> items;
  items.reserve(field.value_->size());
  for (const json& item : *field.value_) items.emplace_back(item, fmt::format("{}[{}]", field.where_, items.size()));
  return items;
}

Result<std::string> Fields::as_text() const {
  if (!value_->is_string()) return wrong("a string");
  return value_->get_ref<const std::string&>();
}

Result<std::int64_t> Fields::as_whole() const {
  if (!value_->is_number_integer()) return wrong("a whole number");
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const bool fits = value_->is_number_unsigned() ? value_->get<std::uint64_t>() <= static_cast<std::uint64_t>(kMost)
                                                 : value_->get<std::int64_t>() >= 0 && value_->get<std::int64_t>() <= kMost;
  if (!fits) return corrupt(fmt::format("{}: {} is not within 0 and {}", where_, value_->dump(), kMost));
  return value_->get<std::int64_t>();
}

Result<double> Fields::as_number() const {
  if (!value_->is_number()) return wrong("a number");
  const double number = value_->get<double>();
  if (!std::isfinite(number)) return wrong("a finite number");
  return number;
}

Result<double> Fields::number(std::string_view name) const {
  NARROW_TRY(const Fields field, need(name));
  return field.as_number();
}

Result<double> Fields::number_or(std::string_view name, double otherwise) const {
  if (!has(name)) return otherwise;
  return number(name);
}

Result<std::string> Fields::text(std::string_view name) const {
  NARROW_TRY(const Fields field, need(name));
  return field.as_text();
}

Result<bool> Fields::flag(std::string_view name) const {
  NARROW_TRY(const Fields field, need(name));
  if (!field.value_->is_boolean()) return field.wrong("true or false");
  return field.value_->get<bool>();
}

Result<std::int64_t> Fields::whole(std::string_view name) const {
  NARROW_TRY(const Fields field, need(name));
  return field.as_whole();
}

Result<std::string> Fields::text_or(std::string_view name, std::string otherwise) const {
  if (!has(name)) return otherwise;
  return text(name);
}

Result<bool> Fields::flag_or(std::string_view name, bool otherwise) const {
  if (!has(name)) return otherwise;
  return flag(name);
}

Result<std::int64_t> Fields::whole_or(std::string_view name, std::int64_t otherwise) const {
  if (!has(name)) return otherwise;
  return whole(name);
}

Result<json> parse_json(std::string_view text, const std::string& where) {
  const auto check_depth = [](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth) throw std::length_error("nested too deeply");
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check_depth);
  } catch (const json::exception& e) {
    return corrupt(fmt::format("{}: not valid JSON: {}", where, e.what()));
  } catch (const std::length_error&) {
    return corrupt(fmt::format("{}: JSON nested more than {} deep", where, kMaxDepth));
  }
}

}  // namespace narrow::wire
