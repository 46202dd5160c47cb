#include "tokenizers/charsmap.h"

#include <fmt/format.h>

namespace narrow::tokenizers {
namespace {

// A unit of the double array.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes, const std::string& where) {
  const auto unit_at = [&](std::size_t at) {
    std::uint32_t unit = 0;
    for (std::size_t i = 0; i < 4; ++i) unit |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
    return unit;
  };
  Charsmap map;
  if (bytes.empty()) return map;
  const std::size_t size = bytes.size() < 4 ? 0 : unit_at(0);
  if (bytes.size() < 4 || size > bytes.size() - 4 || size % 4 != 0 || size == 0) {
    return corrupt(fmt::format("{}: {} bytes with a trie of {} are no table of characters", where, bytes.size(), size));
  }
  for (std::size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(unit_at(at));
  map.replacements_ = bytes.substr(4 + size);
  map.replacements_.push_back('\0');
  return map;
}

Charsmap::Match Charsmap::find(std::string_view text, bool first) const {
  Match match;
  if (units_.empty()) return match;
  std::uint32_t at = offset(units_[0]);
  for (std::size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    at ^= static_cast<unsigned char>(text[i]);
    if (at >= units_.size() || label(units_[at]) != static_cast<unsigned char>(text[i])) break;
    const std::uint32_t unit = units_[at];
    at ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (at >= units_.size() || value(units_[at]) >= replacements_.size()) break;
    const std::size_t begin = value(units_[at]);
    match = {i + 1, std::string_view(replacements_).substr(begin, replacements_.find('\0', begin) - begin)};
    if (first) break;
  }
  return match;
}

}  // namespace narrow::tokenizers
