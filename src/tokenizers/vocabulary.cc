#include "tokenizers/vocabulary.h"

#include <fmt/format.h>

#include <bit>
#include <functional>
#include <nlohmann/json.hpp>

#include "wire/json.h"

namespace narrow::tokenizers {

Vocabulary::Vocabulary(Tokens tokens) : tokens_(std::move(tokens)) {
  slots_.resize(std::bit_ceil(2 * tokens_.size() + 2));
  const auto near = static_cast<std::int64_t>(2 * tokens_.size() + 1024);
  std::int64_t most = -1;
  for (const auto& [token, id] : tokens_) {
    if (id < near) most = std::max(most, id);
  }
  by_id_.resize(static_cast<std::size_t>(most + 1));
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto& [token, id] = tokens_[i];
    std::uint32_t& slot = slots_[slot_of(token)];
    if (slot == 0) ++count_;
    slot = static_cast<std::uint32_t>(i + 1);
    if (id >= 0 && id < near) by_id_[static_cast<std::size_t>(id)] = static_cast<std::uint32_t>(i + 1);
    else far_ids_[id] = static_cast<std::uint32_t>(i + 1);
  }
}

Result<Vocabulary> Vocabulary::parse(const wire::Fields& object) {
  if (!object.value().is_object()) return object.wrong("an object");
  Tokens tokens;
  tokens.reserve(object.value().size());
  for (const auto& [token, id] : object.value().items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > 0x7FFFFFFF) {
      NARROW_TRY(const std::int64_t number, wire::Fields(id, fmt::format("{}.{}", object.where(), token)).as_whole());
      tokens.emplace_back(token, number);
    } else {
      tokens.emplace_back(token, id.get<std::int64_t>());
    }
  }
  return Vocabulary(std::move(tokens));
}

std::size_t Vocabulary::slot_of(std::string_view token) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = std::hash<std::string_view>()(token) & mask;
  while (slots_[at] != 0 && tokens_[slots_[at] - 1].first != token) at = (at + 1) & mask;
  return at;
}

std::optional<std::int64_t> Vocabulary::id_of(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const std::uint32_t index = slots_[slot_of(token)];
  if (index == 0) return std::nullopt;
  return tokens_[index - 1].second;
}

std::optional<std::string_view> Vocabulary::token_of(std::int64_t id) const {
  if (id >= 0 && static_cast<std::uint64_t>(id) < by_id_.size()) {
    const std::uint32_t index = by_id_[static_cast<std::size_t>(id)];
    if (index == 0) return std::nullopt;
    return tokens_[index - 1].first;
  }
  const auto far = far_ids_.find(id);
  if (far == far_ids_.end()) return std::nullopt;
  return tokens_[far->second - 1].first;
}

}  // namespace narrow::tokenizers
